"""Name servers and firewalls: BIND's query log, Juniper's flows, NetScreen, Shorewall, SuSEfirewall2, iptables."""

from __future__ import annotations

_BASE = {
    "BIND9_TIMESTAMP": r"%{MONTHDAY}-%{MONTH}-%{YEAR} %{TIME}",
    "BIND9_DNSTYPE": r"[A-Z][A-Z0-9-]*",
    "BIND9_CATEGORY": r"[a-z][a-z-]*",
    "RT_FLOW_TAG": r"(?:RT_FLOW_SESSION_CREATE|RT_FLOW_SESSION_CLOSE|RT_FLOW_SESSION_DENY)",
    "RT_FLOW_EVENT": r"%{RT_FLOW_TAG}",
    "SFW2_LOG_PREFIX": r"SFW2-INext-[A-Z-]+",
    "IPTABLES_TCP_FLAGS": r"(?:CWR |ECE |URG |ACK |PSH |RST |SYN |FIN )*",
    "BIND9": r"%{BIND9_QUERYLOG}",
}

_QUERY = (
    r"client(?: @0x[0-9A-Fa-f]+)? %{IP:@clientip}#%{POSINT:@clientport} \(%{DATA:@asked}\): "
    r"(?:view %{NOTSPACE}: )?query: %{NOTSPACE:@query} (?<@class>[A-Z]+) %{BIND9_DNSTYPE:@querytype}(?: @flags)? "
    r"\(%{IP:@dns}\)"
)
_FLOW_ENDS = r"%{IP:@src-ip}/%{INT:@src-port}->%{IP:@dst-ip}/%{INT:@dst-port} %{DATA:@service} "
_FLOW_NAT = (
    r"%{IP:@nat-src-ip}/%{INT:@nat-src-port}->%{IP:@nat-dst-ip}/%{INT:@nat-dst-port} "
    r"(?:(?:%{DATA:@src-nat-rule-type} )?%{DATA:@src-nat-rule-name} (?:%{DATA:@dst-nat-rule-type} )?"
    r"%{DATA:@dst-nat-rule-name} )?%{INT:@protocol-id} %{DATA:@policy-name} %{DATA:@from-zone} %{DATA:@to-zone} "
    r"%{INT:@session-id}"
)
_PATTERNS = {
    "BIND9_QUERYLOGBASE": _QUERY,
    "BIND9_QUERYLOG": (
        r"%{BIND9_TIMESTAMP:timestamp}(?: %{BIND9_CATEGORY:@category}:)?(?: %{LOGLEVEL:@loglevel}:)? %{BIND9_QUERYLOGBASE}"
    ),
    "RT_FLOW1": (
        rf"%{{RT_FLOW_EVENT:@event}}: %{{DATA:@close-reason}}: {_FLOW_ENDS}{_FLOW_NAT} "
        r"[0-9]+\(%{INT:@sent}\) [0-9]+\(%{INT:@received}\) %{INT:@elapsed-time}%{GREEDYDATA}"
    ),
    "RT_FLOW2": rf"%{{RT_FLOW_EVENT:@event}}: session created {_FLOW_ENDS}{_FLOW_NAT}%{{GREEDYDATA}}",
    "RT_FLOW3": (
        rf"%{{RT_FLOW_EVENT:@event}}: session denied {_FLOW_ENDS}%{{INT:@protocol-id}}\([0-9]+\) %{{DATA:@policy-name}} "
        r"%{DATA:@from-zone} %{NOTSPACE:@to-zone}%{GREEDYDATA}"
    ),
    "NETSCREENSESSIONLOG": (
        r"%{SYSLOGTIMESTAMP:@date} %{IPORHOST:@device} %{NOTSPACE}: NetScreen device_id=%{WORD:@device_id} {0,2}"
        r"%{DATA}: start_time=@start duration=%{INT:@duration} policy_id=%{INT:@policy_id} service=%{DATA:@svc} "
        r"proto=%{INT:@proto} src zone=%{WORD:@src_zone} dst zone=%{WORD:@dst_zone} action=%{WORD:@action} "
        r"sent=%{INT:@sent_bytes} rcvd=%{INT:@rcvd_bytes} src=%{IPORHOST:@from_ip} dst=%{IPORHOST:@into_ip}"
        r"(?: src_port=%{INT:@from_port} dst_port=%{INT:@into_port})?%{GREEDYDATA}"
    ),
    "IPTABLES": (
        r"IN=%{DATA:@in_iface} OUT=(?:%{NOTSPACE:@out_iface})?(?: PHYSIN=%{NOTSPACE})?(?: PHYSOUT=%{NOTSPACE})?"
        r"(?: MAC=(?:%{NOTSPACE:@macs})?)? SRC=%{IP:@s_ip} DST=%{IP:@d_ip}(?: LEN=%{INT:@len})?"
        r"(?: TOS=(?:%{NOTSPACE:@tos})?)?(?: PREC=(?:%{NOTSPACE:@prec})?)?(?: TC=%{NOTSPACE})?(?: HOPLIMIT=%{INT})?"
        r"(?: FLOWLBL=%{NOTSPACE})?(?: TTL=%{INT:@ttl})?(?: ID=(?:%{INT:@id})?)?(?: DF)? PROTO=%{WORD:@protocol}"
        r"(?: SPT=%{INT:@s_port})?(?: DPT=%{INT:@d_port})?%{GREEDYDATA}"
    ),
    "SHOREWALL": (
        r"%{SYSLOGTIMESTAMP:timestamp} %{SYSLOGHOST:@host} kernel:(?: \[[^\]]*\])? ?Shorewall:%{WORD:@action1}:"
        r"%{WORD:@action2}:? ?%{IPTABLES}"
    ),
    "SFW2": (
        r"%{SYSLOGTIMESTAMP:timestamp} %{SYSLOGHOST:@host} kernel:(?: \[[^\]]*\])? %{SFW2_LOG_PREFIX:@prefix} %{IPTABLES}"
    ),
}  # fmt: skip


def _named(names: dict[str, str]) -> dict[str, str]:
    patterns = dict(_PATTERNS)
    for name in sorted(names, key=len, reverse=True):
        patterns = {key: text.replace(f"@{name}", names[name]) for key, text in patterns.items()}
    return _BASE | {
        key: text.replace("client(?: @0x", "client(?: \0").replace("@", "").replace("\0", "@0x")
        for key, text in patterns.items()
    }


LEGACY: dict[str, str] = _named(
    {
        "asked": "queried", "class": "queryclass", "flags": "%{NOTSPACE:queryflags}", "start": "%{QUOTEDSTRING:start_time}",
        "svc": "service", "sent_bytes": "sent", "rcvd_bytes": "rcvd", "from_ip": "src_ip", "into_ip": "dst_ip",
        "from_port": "src_port", "into_port": "dst_port", "in_iface": "nf_in_interface", "out_iface": "nf_out_interface",
        "macs": "nf_mac", "s_ip": "nf_src_ip", "d_ip": "nf_dst_ip", "len": "nf_len", "tos": "nf_tos", "prec": "nf_prec",
        "ttl": "nf_ttl", "id": "nf_id", "protocol": "nf_protocol", "s_port": "nf_src_port", "d_port": "nf_dst_port",
        "host": "nf_host", "action1": "nf_action1", "action2": "nf_action2", "prefix": "nf_log_prefix",
        "protocol-id": "protocol-id", "device_id": "device_id",
    }
)  # fmt: skip

ECS: dict[str, str] = _named(
    {
        "clientip": "[client][ip]", "clientport": "[client][port]:int", "asked": "[bind][log][question][name]",
        "query": "[dns][question][name]", "class": "[dns][question][class]", "querytype": "[dns][question][type]",
        "flags": "%{NOTSPACE:[bind][log][question][flags]}", "dns": "[server][ip]", "category": "[bind][log][category]",
        "loglevel": "[log][level]", "event": "[juniper][srx][tag]", "close-reason": "[juniper][srx][reason]",
        "src-ip": "[source][ip]", "src-port": "[source][port]:int", "dst-ip": "[destination][ip]",
        "dst-port": "[destination][port]:int", "service": "[juniper][srx][service_name]",
        "nat-src-ip": "[source][nat][ip]", "nat-src-port": "[source][nat][port]:int",
        "nat-dst-ip": "[destination][nat][ip]", "nat-dst-port": "[destination][nat][port]:int",
        "src-nat-rule-type": "[juniper][srx][src_nat_rule_type]", "src-nat-rule-name": "[juniper][srx][src_nat_rule_name]",
        "dst-nat-rule-type": "[juniper][srx][dst_nat_rule_type]", "dst-nat-rule-name": "[juniper][srx][dst_nat_rule_name]",
        "protocol-id": "[network][iana_number]", "policy-name": "[rule][name]",
        "from-zone": "[observer][ingress][zone]", "to-zone": "[observer][egress][zone]",
        "session-id": "[juniper][srx][session_id]", "sent": "[source][bytes]:int", "received": "[destination][bytes]:int",
        "elapsed-time": "[juniper][srx][elapsed_time]:int", "date": "timestamp", "device": "[observer][hostname]",
        "device_id": "[netscreen][device_id]", "start": '"%{DATA:[netscreen][session][start_time]}"',
        "duration": "[netscreen][session][duration]:int", "policy_id": "[netscreen][policy_id]",
        "svc": "[netscreen][service]", "proto": "[netscreen][protocol_number]:int",
        "src_zone": "[observer][ingress][zone]", "dst_zone": "[observer][egress][zone]", "action": "[event][action]",
        "sent_bytes": "[source][bytes]:int", "rcvd_bytes": "[destination][bytes]:int", "from_ip": "[source][address]",
        "into_ip": "[destination][address]", "from_port": "[source][port]:int", "into_port": "[destination][port]:int",
        "in_iface": "[observer][ingress][interface][name]", "out_iface": "[observer][egress][interface][name]",
        "macs": "[iptables][mac]", "s_ip": "[source][ip]", "d_ip": "[destination][ip]", "len": "[iptables][length]:int",
        "tos": "[iptables][tos]", "prec": "[iptables][precedence_bits]", "ttl": "[iptables][ttl]:int",
        "id": "[iptables][id]", "protocol": "[network][transport]", "s_port": "[source][port]:int",
        "d_port": "[destination][port]:int", "host": "[observer][hostname]", "action1": "[shorewall][firewall][type]",
        "action2": "[shorewall][firewall][action]", "prefix": "[suse][firewall][log_prefix]",
    }
)  # fmt: skip
