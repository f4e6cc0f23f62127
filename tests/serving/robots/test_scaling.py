"""How many replicas there should be, without Ray."""

from __future__ import annotations

import inspect
import re
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from jax_stepcache.serving.robots import on_ray
from jax_stepcache.serving.robots.on_ray import Robots, _count, ray_application
from jax_stepcache.serving.robots.scaling import LOAD, replicas_by_queue
from tests.serving.robots.toy import Counting, Robot, serving, until


def _context(loads, replicas=2):
    metrics = None if loads is None else {LOAD: dict(enumerate(loads))}
    return SimpleNamespace(
        aggregated_metrics=metrics,
        current_num_replicas=replicas,
        target_num_replicas=replicas,
    )


@pytest.mark.parametrize(
    ("loads", "wanted"),
    [
        ([1.0, 1.0], 2.0),  # all slots are in use, and nobody waits
        ([3.0, 1.0], 4.0),  # a queue of two rounds at one of them
        ([0.25, 0.25], 0.5),
        ([0.0, 0.0], 0.0),
        ([2.0], 4.0),  # the other one is still being started
        ([], 2),
        (None, 2),
    ],
)
def test_there_are_slots_for_all_requests(loads, wanted):
    """Those that wait count as those that run; who is silent is as the others are."""
    assert replicas_by_queue(_context(loads)) == (wanted, {})


def test_a_replica_tells_its_queue_and_no_connections():
    """Robots that are connected and ask for nothing need no other replica."""
    policy = Counting()
    with serving(policy, slots=2) as (server, url):
        replica = Robots()
        replica.app = server.app
        some = [Robot(url) for _ in range(6)]
        assert replica.record_autoscaling_stats() == {LOAD: 0.0}
        some[0].send(x=1.0, do="wait")
        assert policy.held.wait(20)
        assert replica.record_autoscaling_stats() == {LOAD: 0.5}
        for robot in some[1:4]:
            robot.send(x=1.0)
        until(lambda: server.service.worker.waiting() == 3)
        assert replica.record_autoscaling_stats() == {LOAD: 2.0}
        policy.hold.set()
        for robot in some:
            robot.socket.close_socket()


def test_ray_is_told_by_what_to_scale():
    """In the words of its ``autoscaling_config``; without a most it is not to."""
    assert _count(2, None, None) == {"num_replicas": 2}
    told = _count(1, 3, {"upscale_delay_s": 5.0})["autoscaling_config"]
    assert told.pop("policy") == {
        "policy_function": "jax_stepcache.serving.robots.scaling:replicas_by_queue"
    }
    assert told == {"min_replicas": 1, "max_replicas": 3, "upscale_delay_s": 5.0}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"replicas": 0}, "replicas is 0"),
        ({"sessions": "here"}, "a folder of one server"),
        ({"slots": 0}, "slots is 0"),
    ],
)
def test_what_does_not_fit_is_told_before_ray_is_asked(settings, words):
    with pytest.raises(ValueError, match=words):
        ray_application(Counting, **settings)


class _Serve:
    """Ray Serve, as far as it is told of an application."""

    def __init__(self, proxies=()):
        self.told, self.proxies = [], proxies

    def ingress(self, _):
        return lambda cls: cls

    def deployment(self, cls, **given):
        self.given = given
        return SimpleNamespace(bind=lambda: cls)

    def status(self):
        return SimpleNamespace(proxies=self.proxies)

    def start(self, **_):
        pass

    def run(self, *_, **__):
        raise RuntimeError("no GPU")

    def delete(self, name, _blocking=True):
        self.told.append(f"delete {name}")

    def shutdown(self):
        self.told.append("shutdown")


def test_a_full_replica_still_answers_pages(monkeypatch):
    """Robots' connections do not take the places of balancers; few wait for one."""
    serve = _Serve()
    monkeypatch.setattr(on_ray, "_serve", lambda: serve)
    on_ray.ray_application(lambda: None, max_connections=5)  # pyright: ignore[reportArgumentType]
    assert serve.given["max_ongoing_requests"] == 21
    assert serve.given["max_queued_requests"] == 5


def test_a_replica_that_has_failed_says_so():
    """Ray asks, and starts another."""
    service = SimpleNamespace(failure=None)
    replica = on_ray.Robots()
    replica.app = SimpleNamespace(state=SimpleNamespace(service=service))
    replica.check_health()
    service.failure = ValueError("broken")
    with pytest.raises(RuntimeError, match="cannot be served: broken"):
        replica.check_health()


@pytest.mark.parametrize("found", [True, False])
def test_other_peoples_applications_go_on(monkeypatch, found):
    """Where Serve was there already, only ours ends."""
    serve = _Serve({"node": "HEALTHY"} if found else {})
    monkeypatch.setattr(on_ray, "_serve", lambda: serve)
    monkeypatch.setattr(on_ray.signal, "signal", lambda *_: None)
    with pytest.raises(RuntimeError, match="no GPU"):
        on_ray.run_on_ray(None, "127.0.0.1", 8000, 1.0)
    assert serve.told == ["delete robots" if found else "shutdown"]


def test_the_pages_config_makes_an_application(monkeypatch):
    """Ray reads the import path and the arguments; each is one that there is."""
    yaml = pytest.importorskip("yaml")
    page = Path(__file__).parents[3] / "docs" / "policy-server.md"
    (block,) = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    (told,) = yaml.safe_load(block)["applications"]
    module, _, name = told["import_path"].partition(":")
    make, serve, loaded = getattr(import_module(module), name), _Serve(), []
    assert make is on_ray.application_from
    monkeypatch.setattr(on_ray, "_serve", lambda: serve)
    monkeypatch.setattr(
        on_ray, "ray_application", lambda load, **rest: loaded.append((load, rest))
    )
    make(told["args"])
    ((load, rest),) = loaded
    inspect.signature(ray_application).bind(load, **rest)
    ray_application(load, **rest)  # checks its settings
    assert serve.given["ray_actor_options"] == {"num_gpus": 1}
    scaled = serve.given["autoscaling_config"]
    assert (scaled["min_replicas"], scaled["max_replicas"]) == (1, 8)
    asked = []
    monkeypatch.setattr(on_ray, "policy_from", lambda *a, **k: asked.append((a, k)))
    load()
    assert asked == [(("/shared/DreamZero-DROID",), {"cache_backend": "step_cache"})]


@pytest.mark.parametrize(("there", "each"), [({"GPU": 4.0}, 1.0), ({"CPU": 2.0}, 0.0)])
def test_a_replica_has_a_gpu_where_there_are_any(monkeypatch, there, each):
    """Without one it would wait for ever to be placed."""
    ray = SimpleNamespace(init=lambda **_: None, cluster_resources=lambda: there)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(on_ray, "_serve", lambda: None)
    assert on_ray.gpus_each() == each
