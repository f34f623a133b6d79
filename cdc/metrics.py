"""adapter: health as Prometheus text; names and labels only, no values of rows."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from cdc.status import ChannelHealth, CompanyHealth, Health, ServiceReport, Status

CONTENT_TYPE = CONTENT_TYPE_LATEST
CHANNEL = ("company", "channel")


def exposition(health: Health) -> bytes:
    """The text that a scraper reads."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(health))
    return generate_latest(registry)


class _Once(Collector):
    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        health = self._health
        yield InfoMetricFamily("cdc_agent", "The running agent.", value={"version": health.version})
        yield _single("cdc_ready", "Every active company's copy is fresh.", health.ready)
        yield _single("cdc_start_time_seconds", "When the agent started, Unix time.", health.started_at.timestamp())
        yield _single("cdc_config_ok", "The configuration file as it is now is in force.", not health.config.problems)
        yield from _companies(health)
        yield from _channels(health)
        yield _failures(health)


def _companies(health: Health) -> Iterator[Metric]:
    ready = GaugeMetricFamily("cdc_company_ready", "Every channel of the company is fresh.", labels=["company"])
    stopped = GaugeMetricFamily("cdc_company_stopped", "Nothing goes on until a person acts.", labels=["company"])
    link = GaugeMetricFamily("cdc_link_up", "The connection to the cloud is open.", labels=["company"])
    used = GaugeMetricFamily("cdc_journal_bytes", "Bytes of frames the cloud has not applied.", labels=["company"])
    limit = GaugeMetricFamily("cdc_journal_limit_bytes", "The journal's limit.", labels=["company"])
    problems = GaugeMetricFamily("cdc_problems", "Problems shown in health, by code.", labels=["company", "code"])
    for company in health.companies:
        name = [company.name]
        ready.add_metric(name, company.ready)
        stopped.add_metric(name, company.status is Status.STOPPED)
        link.add_metric(name, company.link.state == "open")
        used.add_metric(name, company.journal.bytes)
        limit.add_metric(name, company.journal.limit)
        for code, count in _counted(company).items():
            problems.add_metric([company.name, code], count)
    yield from (ready, stopped, link, used, limit, problems)


def _counted(company: CompanyHealth) -> dict[str, int]:
    codes = [p.code for p in company.problems]
    return {code: codes.count(code) for code in codes}


def _channels(health: Health) -> Iterator[Metric]:
    fresh = GaugeMetricFamily("cdc_channel_fresh", "The copy is fresh.", labels=CHANNEL)
    lag = GaugeMetricFamily("cdc_channel_lag_seconds", "Age of the ERP's state in the copy.", labels=CHANNEL)
    frames = GaugeMetricFamily("cdc_channel_journal_frames", "Frames the cloud has not applied.", labels=CHANNEL)
    withheld = GaugeMetricFamily("cdc_channel_withheld_rows", "Rows marked withheld in the copy.", labels=CHANNEL)
    held = GaugeMetricFamily("cdc_channel_held_loads", "Finished loads that wait for a person.", labels=CHANNEL)
    retention = GaugeMetricFamily(
        "cdc_channel_retention_left_seconds", "Until the ERP forgets changes that are not captured.", labels=CHANNEL
    )
    rows = CounterMetricFamily("cdc_channel_rows_captured", "Rows captured since the agent started.", labels=CHANNEL)
    for labels, channel in _each(health):
        fresh.add_metric(labels, channel.fresh)
        frames.add_metric(labels, channel.journal_frames)
        withheld.add_metric(labels, channel.withheld_rows)
        held.add_metric(labels, len(channel.held_loads))
        rows.add_metric(labels, channel.rows_captured)
        if channel.lag is not None:
            lag.add_metric(labels, channel.lag)
        if channel.retention_hours_left is not None:
            retention.add_metric(labels, channel.retention_hours_left * 3600)
    yield from (fresh, lag, frames, withheld, held, retention, rows)


def _failures(health: Health) -> Metric:
    failures = CounterMetricFamily("cdc_service_failures", "Failures since the agent started.", labels=["company", "service"])
    reports: list[tuple[str, ServiceReport]] = [("", s) for s in health.services]
    reports += [(company.name, s) for company in health.companies for s in company.services]
    for company, report in reports:
        failures.add_metric([company, report.name], report.total)
    return failures


def _each(health: Health) -> Iterator[tuple[list[str], ChannelHealth]]:
    for company in health.companies:
        for channel in company.channels:
            yield [company.name, channel.name], channel


def _single(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
