"""`enrich`: what is found, by which key, what a miss gives, and that rows stay as they are."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import maxminddb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.telemetry import ENRICHED
from flows.config import Stream
from flows.lookups.settings import Lookup
from flows.steps import Enrich, Filter, Parse, Set, Step
from tests.lookups.files import NETWORKS, write_mmdb
from tests.steps.parsing import process

TEAMS = "source,name,size,floor\npay,Payments,5,1.5\nweb,Web,12,2\nops,Operations,3,0\n"
DEFAULT = {"name": "none", "size": 0}


def enriched(
    file: Path, events: list[Mapping[str, Any]], *also: Step, key: str | None = "source", **settings: Any
) -> list[dict[str, Any]]:
    """The rows for the lake of whole events, looked up in `file` by the step's `on`, into `event.team`."""
    step = Enrich(lookup="teams", **{"on": "source", "into": "event.team", **settings})
    stream = Stream(id="x", steps=(*also, step), lookups={"teams": Lookup(file=file, key=key)})
    return process(stream, events).get("lake", [])


def teams(file: Path, keys: list[Any], **settings: Any) -> list[Any]:
    """What `event.team` is for events with these values at `event.k`."""
    rows = enriched(file, [{"source": "s", "event": {"k": key}} for key in keys], on="event.k", **settings)
    return [row["event"]["team"] for row in rows]


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    file = tmp_path / "teams.csv"
    file.write_text(TEAMS)
    return file


def test_the_columns_of_the_row_are_set_below_into(csv: Path) -> None:
    (row,) = enriched(csv, [{"source": "pay", "event": {"n": 1}}])
    assert row["event"] == {"n": 1, "team": {"name": "Payments", "size": 5, "floor": 1.5}}


def test_the_contracts_formats_all_give_the_same(tmp_path: Path) -> None:
    rows = [{"source": "pay", "name": "Payments", "size": 5}, {"source": "web", "name": "Web", "size": 12}]
    (tmp_path / "t.csv").write_text("source,name,size\npay,Payments,5\nweb,Web,12\n")
    (tmp_path / "t.tsv").write_text("source\tname\tsize\npay\tPayments\t5\nweb\tWeb\t12\n")
    (tmp_path / "t.json").write_text(json.dumps(rows, indent=2))
    for end in ("ndjson", "jsonl"):
        (tmp_path / f"t.{end}").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    for end in ("csv", "tsv", "json", "ndjson", "jsonl", "parquet"):
        found = teams(tmp_path / f"t.{end}", ["web", "pay", "nobody"])
        assert found == [{"name": "Web", "size": 12}, {"name": "Payments", "size": 5}, None], end


def test_rows_keep_their_order_and_number_whatever_matches(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,double\n" + "".join(f"{n},{2 * n}\n" for n in range(50_000)))
    pick = random.Random(1)
    keys = [pick.randrange(60_000) for _ in range(20_000)]
    found = teams(tmp_path / "t.csv", keys, key="id")
    assert found == [{"double": 2 * key} if key < 50_000 else None for key in keys]


def test_keys_are_compared_as_text(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('[{"id": 5.0, "v": "five"}, {"id": "x", "v": "ex"}, {"id": true, "v": "yes"}]')
    found = teams(tmp_path / "t.json", [5, 5.0, "5", "x", "true", True, 6], key="id")
    assert [team and team["v"] for team in found] == ["five", "five", "five", "ex", "yes", "yes", None]


def test_an_expression_is_looked_up(csv: Path) -> None:
    rows = enriched(csv, [{"source": "PAY-1", "event": {}}], on="lower(split_part(source, '-', 1))")
    assert rows[0]["event"]["team"]["name"] == "Payments"


@pytest.mark.parametrize("on", ["event.nowhere", "NULL"])
def test_nothing_is_found_for_a_null(on: str, csv: Path) -> None:
    (row,) = enriched(csv, [{"source": "pay", "event": {"n": 1}}], on=on)
    assert row["event"] == {"n": 1, "team": None}


def test_a_miss_gives_the_defaults_and_a_hit_does_not(csv: Path) -> None:
    found = teams(csv, ["pay", "nobody", None], default=DEFAULT)
    none = {"name": "none", "size": 0, "floor": None}
    assert found == [{"name": "Payments", "size": 5, "floor": 1.5}, none, none]


@pytest.mark.parametrize(
    ("default", "hit", "miss"),
    [(0.5, 5.0, 0.5), ("unknown", "5", "unknown"), (False, "5", "false"), (2**63, 5.0, float(2**63))],
)
def test_a_default_of_another_type_makes_the_column_one_for_both(default: Any, hit: Any, miss: Any, csv: Path) -> None:
    found = teams(csv, ["pay", "nobody"], default={"size": default})
    assert [team["size"] for team in found] == [hit, miss]


def test_only_the_fields_that_are_named_are_taken(csv: Path) -> None:
    assert teams(csv, ["web"], fields=("size",)) == [{"size": 12}]
    assert teams(csv, ["web"], fields=("source", "name")) == [{"source": "web", "name": "Web"}]


def test_fields_within_an_object_can_be_named(tmp_path: Path) -> None:
    file = tmp_path / "t.ndjson"
    file.write_text('{"id": 1, "at": {"city": "Berlin", "zip": "10115"}, "tags": ["a", "b"]}\n')
    assert teams(file, [1], key="id") == [{"at": {"city": "Berlin", "zip": "10115"}, "tags": ["a", "b"]}]
    assert teams(file, [1], key="id", fields=("at.zip",)) == [{"at": {"zip": "10115"}}]


def test_a_file_of_keys_alone_tells_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("ip\n10.0.0.1\n")
    assert teams(tmp_path / "t.csv", ["10.0.0.1", "10.0.0.2"], key="ip") == [{"ip": "10.0.0.1"}, None]


def test_fields_beside_those_found_stay_and_those_found_replace_what_was_there(csv: Path) -> None:
    event = {"team": {"name": "old", "lead": "Ann"}}
    rows = enriched(csv, [{"source": "pay", "event": event}, {"source": "nobody", "event": event}], fields=("name",))
    assert [row["event"]["team"] for row in rows] == [
        {"name": "Payments", "lead": "Ann"},
        {"name": None, "lead": "Ann"},
    ]


def test_the_root_can_take_the_fields(csv: Path) -> None:
    (row,) = enriched(csv, [{"source": "pay", "event": {"n": 1}}], into="event", fields=("name",))
    assert row["event"] == {"n": 1, "name": "Payments"}


def test_two_lookups_and_a_step_behind_see_each_other(csv: Path, tmp_path: Path) -> None:
    (tmp_path / "floors.csv").write_text("floor,view\n1.5,yard\n2,street\n")
    steps = (
        Enrich(lookup="teams", on="source", into="event.team"),
        Enrich(lookup="floors", on="event.team.floor", into="event.team"),
        Set({"event.said": "event.team.name || ' over the ' || event.team.view"}),
    )
    lookups = {"teams": Lookup(file=csv, key="source"), "floors": Lookup(file=tmp_path / "floors.csv", key="floor")}
    stream = Stream(id="x", steps=steps, lookups=lookups)
    rows = process(stream, [{"source": name, "event": {}} for name in ("web", "pay")])["lake"]
    assert [row["event"]["said"] for row in rows] == ["Web over the street", "Payments over the yard"]


def test_after_a_parse_whose_fields_are_learned_it_finds_as_well(csv: Path) -> None:
    events = [{"source": "s", "event": {"m": json.dumps({"who": name})}} for name in ("web", "nobody")]
    parse = Parse(field="event.m", as_="json", on_error="dead_letter")
    rows = enriched(csv, events, parse, on="event.who", fields=("name",))
    assert [row["event"]["team"] for row in rows] == [{"name": "Web"}, None]


def test_before_a_parse_with_dead_letters_nothing_of_it_is_in_the_letter(csv: Path) -> None:
    steps = (
        Enrich(lookup="teams", on="source", into="event.team"),
        Parse(field="event.m", as_="json", on_error="dead_letter"),
    )
    stream = Stream(id="x", steps=steps, lookups={"teams": Lookup(file=csv, key="source")})
    outcome = process(stream, [{"source": "pay", "event": {"m": "{"}}])
    payload = json.loads(outcome["dead_letters:parse"][0]["payload"])
    assert payload["event"] == {"m": "{", "team": {"name": "Payments", "size": 5, "floor": 1.5}}


def test_hits_and_misses_are_counted_and_dropped_events_are_not_looked_up(csv: Path) -> None:
    def counted() -> list[float]:
        return [ENRICHED.labels("s", "steps[1]", result)._value.get() for result in ("hit", "miss")]

    before = counted()
    events = [{"source": name, "event": {"n": n}} for n, name in enumerate(["pay", "web", "nobody", "ops", "no"])]
    enriched(csv, events, Filter("event.n < 4"))
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [3, 1]


@pytest.mark.parametrize("name", ['a"b', "a.b", "a b", "hit", "c0", "select", "ünï"])
def test_a_column_may_have_any_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps([{"id": 1, name: "x"}]))
    assert teams(tmp_path / "t.json", [1, 2], key="id") == [{name: "x"}, None]
    assert teams(tmp_path / "t.json", [1], key="id", fields=(name,)) == [{name: "x"}]


def test_a_column_that_events_disagree_about_is_found_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('[{"id": 1, "v": 5}, {"id": 2, "v": "x"}, {"id": 3, "v": {"w": [1]}}]')
    found = teams(tmp_path / "t.json", [1, 2, 3, 4], key="id", default={"v": "none"})
    assert [json.loads(team["v"]) for team in found] == [5, "x", {"w": [1]}, "none"]


def test_an_address_is_looked_up_in_its_network(tmp_path: Path) -> None:
    file = write_mmdb(tmp_path / "geo.mmdb", NETWORKS)
    found = teams(file, ["203.0.113.9", "2001:db8::9", "::ffff:203.0.113.1", "192.0.2.1"], key=None)
    assert [team and team["city"]["names"]["en"] for team in found] == ["Berlin", "Paris", "Berlin", None]
    assert (found[0]["country"]["iso_code"], found[0]["location"]["accuracy_radius"]) == ("DE", 20)
    assert (found[1]["country"]["is_in_european_union"], found[1]["location"]["latitude"]) == (True, 48.9)
    assert json.loads(found[0]["subdivisions"]) == [{"iso_code": "BE"}]
    assert found[0]["country"]["names"] == {"en": "Germany"}


@pytest.mark.parametrize(
    "text", ["", "x", "203.0.113", "203.0.113.9:80", " 203.0.113.9", "1.2.3.4.5", 3405803777, None]
)
def test_what_is_no_address_is_a_miss(text: Any, tmp_path: Path) -> None:
    file = write_mmdb(tmp_path / "geo.mmdb", NETWORKS)
    fields = ("country.iso_code",)
    assert teams(file, [text], key=None, fields=fields, default={"country.iso_code": "??"}) == [
        {"country": {"iso_code": "??"}}
    ]


def test_an_ipv6_address_in_a_file_of_ipv4_is_a_miss(tmp_path: Path) -> None:
    file = write_mmdb(tmp_path / "geo.mmdb", {"203.0.113.0/24": {"asn": 64500, "share": 0.5}}, version=4)
    assert teams(file, ["2001:db8::1", "203.0.113.1"], key=None) == [None, {"asn": 64500, "share": 0.5}]


@pytest.mark.parametrize("version", [4, 6])
def test_any_address_is_found_as_maxminds_own_reader_finds_it(version: int, tmp_path: Path) -> None:
    """Networks within networks of both families, and addresses within, at the edges of, and outside of them."""
    chance = random.Random(version)
    networks = [_network(chance, 4 if version == 4 or chance.random() < 0.5 else 6) for _ in range(300)]
    networks.sort(key=lambda one: one.prefixlen)  # a narrower one is written over a wider one
    records = {
        str(one): {"id": number, "share": number / 7, "name": f"net {one}"} for number, one in enumerate(networks)
    }
    file = write_mmdb(tmp_path / "geo.mmdb", records, version=version)
    addresses = [_address(chance, chance.choice((4, 6))) for _ in range(1000)]
    for one in networks:
        inside = int(one.network_address) + chance.randrange(one.num_addresses)
        edges = (int(one.network_address), int(one.broadcast_address), int(one.network_address) - 1, inside)
        kind = type(one.network_address)
        addresses += [kind(at) for at in edges if at >= 0]
    texts = [str(one) for one in addresses]
    with maxminddb.open_database(file) as reader:
        said = [_said(reader, one) for one in addresses]
    found = teams(file, texts, key=None)
    assert [team and {**team, "share": pytest.approx(team["share"])} for team in found] == said
    assert sum(one is not None for one in said) > 600
    assert sum(one is None for one in said) > 300


def _network(chance: random.Random, version: int) -> IPv4Network | IPv6Network:
    if version == 4:
        return ip_network((chance.randrange(1 << 32), chance.randint(4, 32)), strict=False)
    return ip_network(((0x2001 << 112) + chance.randrange(1 << 112), chance.randint(18, 128)), strict=False)


def _address(chance: random.Random, version: int) -> IPv4Address | IPv6Address:
    return IPv4Address(chance.randrange(1 << 32)) if version == 4 else IPv6Address(chance.randrange(1 << 128))


def _said(reader: maxminddb.Reader, address: IPv4Address | IPv6Address) -> Any:
    try:
        return reader.get(address)
    except ValueError:  # an IPv6 address, in a file of IPv4
        return None


def test_a_field_of_another_language_or_of_no_record_so_far_can_be_named(tmp_path: Path) -> None:
    file = write_mmdb(tmp_path / "geo.mmdb", NETWORKS)
    fields = ("country.names.de", "traits", "postal.code")
    found = teams(file, ["203.0.113.9", "198.51.100.7"], key=None, fields=fields)
    assert found[0] == {"country": {"names": {"de": "Deutschland"}}, "traits": None, "postal": None}
    assert found[1] == {"country": None, "traits": {"score": 2}, "postal": None}
