"""Zeek (once Bro): its tab-separated logs of connections, DNS, HTTP and files, columns as the programs write them."""

from __future__ import annotations

_BOOL = r"[TF]"
_DATA = r"[^\t]+"

_ENDS = "ts:NUMBER uid:NOTSPACE orig_h:IP orig_p:INT resp_h:IP resp_p:INT"
_COLUMNS = {
    "HTTP": (
        f"{_ENDS} trans_depth:INT method:D domain:D uri:D referrer:D user_agent:D request_body_len:N "
        "response_body_len:N status_code:D status_msg:D info_code:D info_msg:D filename:D bro_tags:D username:D "
        "password:D proxied:D orig_fuids:D orig_mime_types:D resp_fuids:D resp_mime_types:D"
    ),
    "DNS": (
        f"{_ENDS} proto:WORD trans_id:N query:D qclass:D qclass_name:D qtype:D qtype_name:D rcode:D rcode_name:D AA:B TC:B "
        "RD:B RA:B Z:D answers:D TTLs:D rejected:D"
    ),
    "CONN": (
        f"{_ENDS} proto:WORD service:D duration:N orig_bytes:N resp_bytes:N conn_state:D local_orig:D missed_bytes:N "
        "history:D orig_pkts:N orig_ip_bytes:N resp_pkts:N resp_ip_bytes:N tunnel_parents:D"
    ),
    "FILES": (
        "ts:NUMBER fuid:NOTSPACE tx_hosts:D rx_hosts:D conn_uids:D source:D depth:N analyzers:D mime_type:D filename:D "
        "duration:D local_orig:D is_orig:D seen_bytes:N total_bytes:D missing_bytes:N overflow_bytes:N timedout:D "
        "parent_fuid:D md5:D sha1:D sha256:D extracted:D"
    ),
}
_SHAPES = {"D": "BRO_DATA", "N": "BRO_DATA", "B": "BRO_BOOL"}

_PATHS = {
    "ts": "timestamp", "uid": "[zeek][session_id]", "orig_h": "[source][ip]", "orig_p": "[source][port]:int",
    "resp_h": "[destination][ip]", "resp_p": "[destination][port]:int", "proto": "[network][transport]",
    "method": "[http][request][method]", "domain": "[url][domain]", "uri": "[url][original]",
    "referrer": "[http][request][referrer]", "user_agent": "[user_agent][original]",
    "request_body_len": "[http][request][body][bytes]:int", "response_body_len": "[http][response][body][bytes]:int",
    "status_code": "[http][response][status_code]:int", "username": "[url][username]", "password": "[url][password]",
    "query": "[dns][question][name]", "qtype_name": "[dns][question][type]", "qclass_name": "[dns][question][class]",
    "rcode_name": "[dns][response_code]", "trans_id": "[dns][id]:int", "service": "[network][protocol]",
    "orig_bytes": "[source][bytes]:int", "resp_bytes": "[destination][bytes]:int",
    "orig_pkts": "[source][packets]:int", "resp_pkts": "[destination][packets]:int",
    "mime_type": "[file][mime_type]", "filename": "[file][name]", "md5": "[file][hash][md5]",
    "sha1": "[file][hash][sha1]", "sha256": "[file][hash][sha256]",
}  # fmt: skip
_NUMBERS = {
    "trans_depth", "duration", "missed_bytes", "orig_ip_bytes", "resp_ip_bytes", "depth", "seen_bytes", "missing_bytes",
    "overflow_bytes",
}  # fmt: skip


def _line(columns: str, path: dict[str, str]) -> str:
    written = []
    for column in columns.split():
        name, _, shape = column.partition(":")
        written.append(f"%{{{_SHAPES.get(shape, shape)}:{path[name]}}}")
    return r"\t".join(written)


def _names(columns: str) -> list[str]:
    return [column.partition(":")[0] for column in columns.split()]


def _ecs(log: str, columns: str) -> str:
    def path(name: str) -> str:
        number = ":float" if name == "duration" else ":int" if name in _NUMBERS else ""
        return _PATHS.get(name, f"[zeek][{log.lower()}][{name}]{number}")

    written = []
    for column in columns.split():
        name, _, shape = column.partition(":")
        kind = _SHAPES.get(shape, shape)
        written.append(f"(?:-|%{{{kind}:{path(name)}}})" if shape in ("D", "N", "B") else f"%{{{kind}:{path(name)}}}")
    return r"\t".join(written)


_BASE = {"BRO_BOOL": _BOOL, "BRO_DATA": _DATA, "ZEEK_BOOL": _BOOL, "ZEEK_DATA": _DATA}

LEGACY: dict[str, str] = _BASE | {
    f"{program}_{log}": _line(columns, {name: name for name in _names(columns)})
    for log, columns in _COLUMNS.items()
    for program in ("BRO", "ZEEK")
}
ECS: dict[str, str] = _BASE | {
    f"{program}_{log}": _ecs(log, columns) for log, columns in _COLUMNS.items() for program in ("BRO", "ZEEK")
}
