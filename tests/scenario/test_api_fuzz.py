"""The API's own document, as it is served, drives requests against the real service, whose data changes meanwhile.

Every answer is what the document says, nothing unexpected is logged, and every operation reaches its success.
"""

from __future__ import annotations

import json
import logging
import os
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder

from cloud.routes import MAX_WAIT, OPERATIONS, PREFIX
from tests.support.api_server import ROWS, ApiServer, api_in_a_thread

FULL = os.environ.get("CDC_TEST_SIZE") == "full"
EXAMPLES = 200 if FULL else 15  # random requests an operation, besides the examples and the edges of every schema
LIFETIME = 0.1  # seconds after which a stream ends by itself
LONGEST_WAIT = 1  # seconds of a long-poll that the fuzz has the patience for
CONFIG = {
    "seed": 20_260_301,
    "generation": {"max-examples": EXAMPLES, "database": "none"},
    "request-timeout": 20,
    "request-retries": 0,
    "checks": {
        # a dataset that is being loaded is 503; the store's own failures are in the log, which is checked
        "not_a_server_error": {"expected-statuses": ["2xx", "4xx", "503"]},
        # a well-formed cursor may lie ahead of the feed, a well-formed list may make the address too long
        "positive_data_acceptance": {"expected-statuses": ["2xx", "404", "410", "414", "503"]},
        "negative_data_rejection": {"expected-statuses": ["400", "401", "404", "405", "414"]},
    },
}


class Complaints(logging.Handler):
    """Errors that anything logs, and exceptions that nobody caught."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._told: list[str] = []

    def take(self) -> list[str]:
        told, self._told = self._told, []
        return told

    def emit(self, record: logging.LogRecord) -> None:
        self._told.append(logging.Formatter().format(record))


class Fuzz:
    """One run over every operation of the served document, with real keys and cursors among its examples."""

    def __init__(self, server: ApiServer, complaints: Complaints) -> None:
        self.complaints = complaints
        self.failures: list[str] = []
        self.answers: dict[str, Counter[int]] = {f"{o.method} {o.path}": Counter() for o in OPERATIONS}
        access = {"base-url": server.url, "auth": {"openapi": {"token": {"bearer": server.token}}}}
        self.schema = schemathesis.openapi.from_dict(document_of(server), config=schemathesis.Config.from_dict(CONFIG | access))
        self.schema.hook("filter_query")(is_short)
        self.schema.hook("filter_path_parameters")(is_short)

    def run(self) -> None:
        hooks = [schemathesis.hook("before_call")(be_patient), schemathesis.hook("after_call")(self._listener())]
        try:
            for event in from_schema(self.schema).execute():
                self._note(event)
        finally:
            for hook in hooks:
                schemathesis.hooks.unregister(hook)

    def _listener(self) -> Callable[..., None]:
        def listen(_: HookContext, case: Case[Any], response: Response) -> None:
            self.failures += [f"{case.method} {response.request.url} logged: {told}" for told in self.complaints.take()]

        return listen

    def _note(self, event: events.EngineEvent) -> None:
        if isinstance(event, events.ScenarioFinished):
            self._finished(event.recorder)
        elif isinstance(event, events.NonFatalError):
            self.failures.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            raise event.exception

    def _finished(self, recorder: ScenarioRecorder) -> None:
        for number, interaction in recorder.interactions.items():
            if interaction.response is not None:
                case = recorder.cases[number].value
                self.answers.get(f"{case.method} {case.path}", Counter())[interaction.response.status_code] += 1
        for number, checks in recorder.checks.items():
            request = recorder.interactions[number].request
            told = [(check.name, check.failure_info.failure) for check in checks if check.failure_info is not None]
            self.failures += [f"{request.method} {request.uri}: {name}: {failure}" for name, failure in told]


def is_short(_: HookContext, parameters: dict[str, Any] | None) -> bool:
    """Longer addresses are not even read as HTTP (see `cloud.api.RUNNER`)."""
    return len(urlencode(parameters or {}, doseq=True)) < 30_000


def be_patient(_: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Long-polls may wait for half a minute; here nothing may come."""
    wait = str((case.query or {}).get("wait", ""))
    if wait.isdecimal() and LONGEST_WAIT < int(wait) <= MAX_WAIT:
        case.query["wait"] = LONGEST_WAIT


def document_of(server: ApiServer) -> dict[str, Any]:
    """The served document with examples; those at the same place belong together: schemathesis takes one of each."""
    document: dict[str, Any] = ask(server, "/openapi.json")
    keys = [key for _, key in ROWS]
    given: dict[str, list[Any]] = {
        "dataset": [dataset for dataset, _ in ROWS],
        "key": keys,
        "after": ["0", "1", "6", ask(server, "/cursor")["cursor"]],
        "Last-Event-ID": ["0", "6"],
    }
    for path, methods in document["paths"].items():
        for parameter in methods["get"]["parameters"]:
            values = keys if (parameter["name"], path[-5:]) == ("after", "/rows") else given.get(parameter["name"], [])
            if parameter["schema"].get("type") == "array":
                values = [[value] for value in values]
            parameter["examples"] = {f"example{number}": {"value": value} for number, value in enumerate(values)}
    return document


def ask(server: ApiServer, path: str) -> Any:
    request = urllib.request.Request(f"{server.url}{PREFIX}{path}", headers={"Authorization": f"Bearer {server.token}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    handler = Complaints()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.mark.timeout(1200 if FULL else 300)
def test_every_answer_is_as_the_served_document_says(tmp_path: Path, complaints: Complaints) -> None:
    with api_in_a_thread(tmp_path, lifetime=LIFETIME) as server:
        fuzz = Fuzz(server, complaints)
        fuzz.run()
    failures = fuzz.failures + complaints.take()
    assert not failures, "\n\n".join(failures)
    assert [operation for operation, answers in fuzz.answers.items() if not answers[200]] == []
    assert fuzz.answers["GET /api/v1/datasets/{dataset}/rows/{key}"][404] > 0
