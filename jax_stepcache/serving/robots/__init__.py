"""Robots that come over a websocket: a policy served to many of them.

Nothing of this is loaded before somebody asks for `policy_server`.
"""
