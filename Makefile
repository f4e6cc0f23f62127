# Each target makes its own virtual environment, so either works in a fresh clone.
PYTHON ?= python3
# Processes that share the tests; each compiles, so more than cores is no faster.
WORKERS ?= 2

.PHONY: help sample rollout pixels test test-all check docs installed notebooks benchmarks peers gpu-program gpu-program-small gpu train train-digits train-film metaworld metaworld-settings metaworld-episodes clean

help:
	@echo "make sample      sample the bundled model: a table and a picture in out/"
	@echo "make rollout     closed-loop success rates and a GIF in out/"
	@echo "make pixels      write out/DreamZero-tiny: all parts of a DreamZero, random weights"
	@echo "make test        run the tests that take seconds"
	@echo "make test-all    run these and all that take longer"
	@echo "make check       format, lint and types"
	@echo "make installed   build the wheel, and use it in environments of its own"
	@echo "make docs        build the documentation's site in site/"
	@echo "make metaworld   Meta-World: demonstrate, train, calibrate, evaluate; hours"
	@echo "make notebooks   execute the notebooks in place"
	@echo "make benchmarks  run every benchmark; JSON goes to benchmarks/results/"
	@echo "make peers       this library beside PyTorch's caches, on the same weights"
	@echo "make gpu-program what XLA makes of our programs for a GPU, without one"
	@echo "make gpu         on a machine with a GPU: tests, benchmarks, and times beside their floors"

# An environment is ready when its stamp is newer than pyproject.toml. openpi's client
# asks for a NumPy below 2 and works with later ones, so no extra can name it. An own folder for
# each purpose keeps `make sample` light: it needs no test or lint tools.
.venv-%/stamp: pyproject.toml
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --editable ".[$*]"
	case "$*" in test|dev) \
		.venv-$*/bin/python -m pip install --quiet --no-deps "openpi-client>=0.1.1" \
			|| echo "tests with openpi's client will be skipped"; \
		for try in 1 2 3; do \
			.venv-$*/bin/python -m pip install --quiet equinox einops \
				&& .venv-$*/bin/python -m pip install --quiet --no-deps flaxdiff==0.2.11 \
				&& break; \
			if test $$try -lt 3; then sleep $$((5 * try)); \
			elif test "$$CI" = true; then \
				echo "equinox, einops or flaxdiff was not installed in three tries;" \
					"CI does not skip the tests that need them" >&2; \
				exit 1; \
			else echo "tests with other people's networks will be skipped"; fi; \
		done ;; esac
	@touch $@

sample: .venv-plot/stamp
	.venv-plot/bin/jax-stepcache sample --compare --out out

rollout: .venv-plot/stamp
	.venv-plot/bin/jax-stepcache rollout --out out

pixels: .venv-pixels/stamp
	mkdir -p out
	test -d out/DreamZero-tiny || \
		.venv-pixels/bin/python -m jax_stepcache.models.dreamzero.pixels.tiny out/DreamZero-tiny

test: .venv-test/stamp
	.venv-test/bin/python -m pytest -n $(WORKERS) --dist loadfile

# What `test` leaves out, and its property tests with more examples.
test-all: test
	.venv-test/bin/python -m pytest -n $(WORKERS) --dist loadfile \
		-m "slow or hypothesis" --hypothesis-profile many

check: .venv-dev/stamp
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/ruff check .
	.venv-dev/bin/pyright --pythonpath .venv-dev/bin/python

installed: .venv-dev/stamp
	.ci/installed/run .venv-dev/bin/python

docs: .venv-docs/stamp
	.venv-docs/bin/mkdocs build --strict

notebooks: .venv-dev/stamp
	.venv-dev/bin/python notebooks/execute.py notebooks/*.ipynb

# An environment of its own: the wheels of CUDA 12 take 5 GB. No GPU is needed.
gpu-program: .venv-gpu-program/stamp
	.venv-gpu-program/bin/python benchmarks/gpu_program.py --json benchmarks/results/gpu_program.json

# One small program, as a test.
gpu-program-small: .venv-gpu-program/stamp
	.venv-gpu-program/bin/python -m pytest -q -rs -p no:cacheprovider tests/benchmarks/test_gpu_program.py

# On a machine with a GPU. What fails is told at the end, and stops nothing: the machine
# may be lent for an hour.
gpu: .venv-gpu/stamp
	failed=; \
	.venv-gpu/bin/python -m pytest || failed="$$failed tests"; \
	for name in overhead batching host skipped; do \
		.venv-gpu/bin/python benchmarks/$$name.py --json benchmarks/results/gpu/$$name.json \
			|| failed="$$failed $$name"; done; \
	.venv-gpu/bin/python benchmarks/gpu_times.py --json benchmarks/results/gpu/times.json \
		|| failed="$$failed times"; \
	for config in wan22-5b droid-14b; do \
		.venv-gpu/bin/python benchmarks/dreamzero.py --config $$config --dtype bf16 \
			--json benchmarks/results/gpu/$$config.json || failed="$$failed $$config"; done; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

benchmarks: .venv-plot/stamp .venv-pixels/stamp
	.venv-plot/bin/python benchmarks/overhead.py --json benchmarks/results/overhead.json
	.venv-plot/bin/python benchmarks/host.py --json benchmarks/results/host.json
	.venv-plot/bin/python benchmarks/skipped.py --json benchmarks/results/skipped.json
	.venv-plot/bin/python benchmarks/frontier.py --json benchmarks/results/frontier.json
	.venv-plot/bin/python benchmarks/film_quality.py --json benchmarks/results/film_quality.json
	.venv-plot/bin/python benchmarks/few_calls.py --json benchmarks/results/few_calls.json
	.venv-plot/bin/python benchmarks/episodes.py --json benchmarks/results/episodes.json
	.venv-plot/bin/python benchmarks/table_overhead.py --json benchmarks/results/table_overhead.json
	.venv-plot/bin/python benchmarks/scales.py --json benchmarks/results/scales.json
	.venv-plot/bin/python benchmarks/batching.py --json benchmarks/results/batching.json
	.venv-plot/bin/python benchmarks/dreamzero.py --config small --json benchmarks/results/dreamzero.json
	.venv-pixels/bin/python benchmarks/pixels.py --json benchmarks/results/pixels.json
	.venv-plot/bin/python benchmarks/compile_time.py --json benchmarks/results/compile_time.json
	.venv-plot/bin/python benchmarks/import_time.py --json benchmarks/results/import_time.json
	$(MAKE) .venv-robot/stamp
	.venv-robot/bin/python benchmarks/policy_server.py --json benchmarks/results/policy_server.json

# Each package by itself: what cannot be had here is left out, and `peers` says so.
.venv-peers/stamp: pyproject.toml benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --editable .
	grep -v '^#' benchmarks/peers/requirements.txt | while read package; do \
		.venv-peers/bin/python -m pip install --quiet "$$package" \
			|| echo "peers: $$package cannot be installed here"; done
	@touch $@

# Without what it says it needs and DreamZero does not; and without PyTorch's packages
# for pictures and sound, whose wheels need not be of the same PyTorch.
.venv-omni/stamp: benchmarks/peers/requirements-omni.txt
	$(PYTHON) -m venv .venv-omni
	.venv-omni/bin/python -m pip install --quiet -r benchmarks/peers/requirements-omni.txt \
		&& .venv-omni/bin/python -m pip install --quiet --no-deps "vllm-omni==0.30.*" \
		&& .venv-omni/bin/python -m pip uninstall --quiet --yes \
			torchaudio torchcodec torchvision \
		|| echo "peers: vLLM-Omni cannot be installed here"
	@touch $@

peers: .venv-peers/stamp .venv-omni/stamp
	.venv-peers/bin/python benchmarks/peers/run.py --omni .venv-omni/bin/python \
		--json benchmarks/results/peers.json

# First single chunks, then sequences of four as in a session.
train: .venv-plot/stamp
	.venv-plot/bin/python -m jax_stepcache.models.tabletop.train --out out/chunks
	.venv-plot/bin/python -m jax_stepcache.models.tabletop.train --out out/tabletop \
		--init out/chunks/weights.safetensors --blocks 4 --batch 24 --steps 900 \
		--learning-rate 0.004

# Hours, and goes on where it was stopped. MUJOCO_GL=osmesa where there is no EGL.
metaworld: .venv-metaworld/stamp
	.venv-metaworld/bin/python -m jax_stepcache.models.metaworld.demonstrate \
		--out out/metaworld-demos --episodes 690 --processes $(WORKERS)
	.venv-metaworld/bin/python -m jax_stepcache.models.metaworld.train \
		--data out/metaworld-demos --out out/metaworld \
		$$(ls -d out/metaworld/checkpoints/[0-9]* > /dev/null 2>&1 && echo --resume)
	.venv-metaworld/bin/python -m jax_stepcache.models.metaworld.train \
		--data out/metaworld-demos --out out/metaworld-on --steps 1200 --learning-rate 0.004 \
		--init out/metaworld/weights.safetensors \
		$$(ls -d out/metaworld-on/checkpoints/[0-9]* > /dev/null 2>&1 && echo --resume)
	cmp -s out/metaworld-on/weights.safetensors models/metaworld/weights.safetensors \
		|| rm -rf out/metaworld-tables
	cp out/metaworld-on/weights.safetensors out/metaworld-on/weights.json models/metaworld/
	$(MAKE) metaworld-settings metaworld-episodes

# What was found for the weights: a schedule and a table of four calls.
metaworld-settings: .venv-metaworld/stamp
	.venv-metaworld/bin/python benchmarks/tune.py --params metaworld --budgets 4 \
		--write models/metaworld/tuned.json
	.venv-metaworld/bin/python benchmarks/tune_tables.py --params metaworld --budgets 4 \
		--write models/metaworld/tuned.json --resume out/metaworld-tables

# The table of README and docs, and the films; goes on where it was stopped.
metaworld-episodes: .venv-metaworld/stamp
	.venv-metaworld/bin/python -m pip install --quiet --no-deps "openpi-client>=0.1.1"
	.venv-metaworld/bin/python benchmarks/meta_world.py --processes $(WORKERS) \
		--json benchmarks/results/metaworld.json
	.venv-metaworld/bin/python benchmarks/meta_world.py --latency \
		--json benchmarks/results/metaworld.json
	.venv-metaworld/bin/python docs/pictures/meta_world.py
	.venv-metaworld/bin/python benchmarks/tables.py --write

train-digits: .venv-train/stamp
	.venv-train/bin/python -m jax_stepcache.models.dit.train --out out/dit --report

# Half an hour or so in the background; the log is out/film/log. Broken off, the same command
# goes on where it was.
train-film: .venv-train/stamp
	mkdir -p out/film
	nice -n 15 .venv-train/bin/python -m jax_stepcache.models.film.train --out out/film \
		--report $$(ls -d out/film/checkpoints/[0-9]* >/dev/null 2>&1 && echo --resume) \
		>>out/film/log 2>&1

clean:
	rm -rf .venv-* out build site *.egg-info
