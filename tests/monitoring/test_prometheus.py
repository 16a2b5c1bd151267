"""Metrics, alert rules and the Grafana dashboard, as Prometheus' own tools read them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from server import SECONDS, Server

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES = DEPLOY / "prometheus"
GRAFANA = DEPLOY / "grafana" / "pet-coordinator.json"


def promtool(*arguments: str, folder: Path) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("there is no promtool here: it comes with Prometheus")
    result = subprocess.run(
        [tool, *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr


def expressions(value: Any) -> list[str]:
    """All PromQL in a Grafana dashboard."""
    if isinstance(value, dict):
        own = [value["expr"]] if isinstance(value.get("expr"), str) else []
        return own + [found for each in value.values() for found in expressions(each)]
    if isinstance(value, list):
        return [found for each in value for found in expressions(each)]
    return []


def test_the_metrics_are_what_a_strict_reader_expects(binary: str, tmp_path: Path) -> None:
    server = Server(binary, tmp_path, "--model-length", "4")
    try:
        server.send_rubbish(1)
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=SECONDS) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
    finally:
        server.stop()
    by_name = {family.name: family for family in families}
    assert len(by_name) == len(families)
    assert all(name.startswith("pet_") and by_name[name].documentation for name in by_name)
    rejected = by_name["pet_messages_rejected"]
    assert rejected.type == "counter"
    totals = [sample for sample in rejected.samples if sample.name.endswith("_total")]
    assert [(sample.labels, sample.value) for sample in totals] == [
        ({"reason": "does_not_open"}, 1.0)
    ]


def test_the_alert_rules_are_sound() -> None:
    promtool("check", "rules", "alerts.yml", folder=RULES)


def test_the_alert_rules_alert_when_they_should() -> None:
    promtool("test", "rules", "alerts-test.yml", folder=RULES)


def test_the_queries_of_the_grafana_dashboard_are_sound(tmp_path: Path) -> None:
    found = expressions(json.loads(GRAFANA.read_text()))
    assert len(found) > 20
    # As rules, since promtool reads nothing else.
    rules = [
        {
            "record": f"dashboard:query:{number}",
            "expr": expression.replace("$__rate_interval", "5m"),
        }
        for number, expression in enumerate(found)
    ]
    # JSON is YAML.
    document = json.dumps({"groups": [{"name": "dashboard", "rules": rules}]})
    (tmp_path / "queries.yml").write_text(document)
    promtool("check", "rules", "queries.yml", folder=tmp_path)


def test_the_grafana_dashboard_has_its_panels_in_order() -> None:
    dashboard = json.loads(GRAFANA.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    taken = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken), "panels overlap"
    known = {"datasource", "instance", "__rate_interval"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard))) <= known
