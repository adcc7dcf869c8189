"""Messages of Cisco's firewalls (ASA, PIX, FWSM), by the number in their tag: `%ASA-6-302013: Built outbound TCP …`."""

from __future__ import annotations

_BASE = {
    "CISCOTIMESTAMP": r"%{MONTH} +%{MONTHDAY}(?: %{YEAR})? %{TIME}",
    "CISCOTAG": r"[A-Z0-9]+-%{INT}-(?:[A-Z0-9_]+)",
    "CISCO_ACTION": (
        r"(?:Built|Teardown|Deny|Denied|denied|requested|permitted|denied by ACL|discarded|est-allowed|Dropping|created"
        r"|deleted)"
    ),
    "CISCO_REASON": (
        r"(?:Duplicate TCP SYN|Failed to locate egress interface|Invalid transport field|No matching connection"
        r"|DNS Response|DNS Query|%{WORD}(?:[\s-]+%{WORD})*)"
    ),
    "CISCO_DIRECTION": r"(?:Inbound|inbound|Outbound|outbound)",
    "CISCO_INTERVAL": r"(?:first hit|%{INT}-second interval)",
    "CISCO_XLATE_TYPE": r"(?:static|dynamic)",
}

_SRC = r"%{DATA:@src_interface}:%{IP:@src_ip}(?:/%{INT:@src_port})?(?:\(%{DATA:@src_fwuser}\))?"
_DST = r"%{DATA:@dst_interface}:%{IP:@dst_ip}(?:/%{INT:@dst_port})?(?:\(%{DATA:@dst_fwuser}\))?"
_ICMP = r"(?: \(type %{INT:@icmp_type}, code %{INT:@icmp_code}\))"
_MESSAGES = {
    "104001": r"\((?:Primary|Secondary)\) Switching to ACTIVE - %{GREEDYDATA:@switch_reason}",
    "104002": r"\((?:Primary|Secondary)\) Switching to STANDBY - %{GREEDYDATA:@switch_reason}",
    "104003": r"\((?:Primary|Secondary)\) Switching to FAILED\.",
    "104004": r"\((?:Primary|Secondary)\) Switching to OK\.",
    "105003": r"\((?:Primary|Secondary)\) Monitoring on [Ii]nterface %{NOTSPACE:@interface_name} waiting",
    "105004": r"\((?:Primary|Secondary)\) Monitoring on [Ii]nterface %{NOTSPACE:@interface_name} normal",
    "105005": r"\((?:Primary|Secondary)\) Lost Failover communications with mate on [Ii]nterface %{NOTSPACE:@interface_name}",
    "105008": r"\((?:Primary|Secondary)\) Testing [Ii]nterface %{NOTSPACE:@interface_name}",
    "105009": (r"\((?:Primary|Secondary)\) Testing on [Ii]nterface %{NOTSPACE:@interface_name} (?:Passed|Failed)"),
    "106001": (
        r"%{CISCO_DIRECTION:@direction} %{WORD:@protocol} connection %{CISCO_ACTION:@action} from %{IP:@src_ip}"
        r"/%{INT:@src_port} to %{IP:@dst_ip}/%{INT:@dst_port} flags %{DATA:@tcp_flags} on interface "
        r"%{NOTSPACE:@interface}"
    ),
    "106006_106007_106010": (
        r"%{CISCO_ACTION:@action} %{CISCO_DIRECTION:@direction} %{WORD:@protocol} (?:from|src) (?:%{DATA:@src_interface}:)?"
        r"%{IP:@src_ip}/%{INT:@src_port}(?:\(%{DATA:@src_fwuser}\))? (?:to|dst) (?:%{DATA:@dst_interface}:)?"
        r"%{IP:@dst_ip}/%{INT:@dst_port}(?:\(%{DATA:@dst_fwuser}\))? "
        r"(?:on interface %{NOTSPACE:@interface}|due to %{CISCO_REASON:@reason})"
    ),
    "106014": (
        rf"%{{CISCO_ACTION:@action}} %{{CISCO_DIRECTION:@direction}} %{{WORD:@protocol}} src {_SRC} dst {_DST}{_ICMP}"
    ),
    "106015": (
        r"%{CISCO_ACTION:@action} %{WORD:@protocol} \(%{DATA:@policy_id}\) from %{IP:@src_ip}/%{INT:@src_port} to "
        r"%{IP:@dst_ip}/%{INT:@dst_port} flags %{DATA:@tcp_flags} {1,2}on interface %{NOTSPACE:@interface}"
    ),
    "106021": (
        r"%{CISCO_ACTION:@action} %{WORD:@protocol} reverse path check from %{IP:@src_ip} to %{IP:@dst_ip} on interface "
        r"%{NOTSPACE:@interface}"
    ),
    "106023": (
        rf"%{{CISCO_ACTION:@action}}(?: protocol)? %{{WORD:@protocol}} src {_SRC} dst {_DST}{_ICMP}? by access-group "
        r'"?%{DATA:@policy_id}"? \[%{DATA:@hashcode1}, %{DATA:@hashcode2}\]'
    ),
    "106100": (
        r"access-list %{NOTSPACE:@policy_id} %{CISCO_ACTION:@action} %{WORD:@protocol} %{DATA:@src_interface}"
        r"/%{IP:@src_ip}\(%{INT:@src_port}\)(?:\(%{DATA:@src_fwuser}\))? -> %{DATA:@dst_interface}/%{IP:@dst_ip}"
        r"\(%{INT:@dst_port}\)(?:\(%{DATA:@dst_fwuser}\))? hit-cnt %{INT:@hit_count} %{CISCO_INTERVAL:@interval} "
        r"\[%{DATA:@hashcode1}, %{DATA:@hashcode2}\]"
    ),
    "106100_2_3": (
        r"access-list %{NOTSPACE:@policy_id} %{CISCO_ACTION:@action} %{WORD:@protocol} for user '%{DATA:@src_fwuser}' "
        r"%{DATA:@src_interface}/%{IP:@src_ip}\(%{INT:@src_port}\) -> %{DATA:@dst_interface}/%{IP:@dst_ip}"
        r"\(%{INT:@dst_port}\) hit-cnt %{INT:@hit_count} %{CISCO_INTERVAL:@interval} "
        r"\[%{DATA:@hashcode1}, %{DATA:@hashcode2}\]"
    ),
    "110002": (
        r"%{CISCO_REASON:@reason} for %{WORD:@protocol} from %{DATA:@src_interface}:%{IP:@src_ip}/%{INT:@src_port} to "
        r"%{IP:@dst_ip}/%{INT:@dst_port}"
    ),
    "302010": r"%{INT:@connection_count} in use, %{INT:@connection_count_max} most used",
    "302013_302014_302015_302016": (
        r"%{CISCO_ACTION:@action}(?: %{CISCO_DIRECTION:@direction})? %{WORD:@protocol} connection %{INT:@connection_id} "
        r"for %{DATA:@src_interface}:%{IP:@src_ip}/%{INT:@src_port}"
        r"(?: \(%{IP:@src_mapped_ip}/%{INT:@src_mapped_port}\))?(?:\(%{DATA:@src_fwuser}\))? to "
        r"%{DATA:@dst_interface}:%{IP:@dst_ip}/%{INT:@dst_port}(?: \(%{IP:@dst_mapped_ip}/%{INT:@dst_mapped_port}\))?"
        r"(?:\(%{DATA:@dst_fwuser}\))?(?: duration %{TIME:@duration} bytes %{INT:@bytes})?"
        r"(?: %{CISCO_REASON:@reason})?(?: \(%{DATA:@user}\))?"
    ),
    "302020_302021": (
        r"%{CISCO_ACTION:@action}(?: %{CISCO_DIRECTION:@direction})? %{WORD:@protocol} connection for faddr "
        r"%{IP:@dst_ip}/%{INT:@icmp_seq_num}(?:\(%{DATA:@fwuser}\))? gaddr %{IP:@src_xlated_ip}/%{INT:@icmp_code_xlated} "
        r"laddr %{IP:@src_ip}/%{INT:@icmp_code}(?: \(%{DATA:@user}\))?"
    ),
    "305011": (
        r"%{CISCO_ACTION:@action} %{CISCO_XLATE_TYPE:@xlate_type} %{WORD:@protocol} translation from "
        r"%{DATA:@src_interface}:%{IP:@src_ip}(?:/%{INT:@src_port})?(?:\(%{DATA:@src_fwuser}\))? to "
        r"%{DATA:@src_xlated_interface}:%{IP:@src_xlated_ip}/%{DATA:@src_xlated_port}(?:\s|$)"
    ),
    "313001_313004_313008": (
        r"%{CISCO_ACTION:@action} %{WORD:@protocol} type=%{INT:@icmp_type}, code=%{INT:@icmp_code} from %{IP:@src_ip} on "
        r"interface %{NOTSPACE:@interface}(?: to %{IP:@dst_ip})?"
    ),
    "313005": (
        r"%{CISCO_REASON:@reason} for %{WORD:@protocol} error message: %{WORD:@err_protocol} src "
        r"%{DATA:@err_src_interface}:%{IP:@err_src_ip}(?:\(%{DATA:@err_src_fwuser}\))? dst %{DATA:@err_dst_interface}:"
        r"%{IP:@err_dst_ip}(?:\(%{DATA:@err_dst_fwuser}\))? \(type %{INT:@err_icmp_type}, code %{INT:@err_icmp_code}\) on "
        r"%{DATA:@interface} interface\. +Original IP payload: %{GREEDYDATA:@original_payload}"
    ),
    "321001": r"Resource '%{DATA:@resource_name}' limit of %{POSINT:@resource_limit} reached for system",
    "402117": (
        r"%{WORD:@protocol}: Received a non-IPSec packet \(protocol= ?%{WORD:@orig_protocol}\) from %{IP:@src_ip} to "
        r"%{IP:@dst_ip}\.?"
    ),
    "402119": (
        r"%{WORD:@protocol}: Received an %{WORD:@orig_protocol} packet \(SPI= ?%{DATA:@spi}, sequence number= "
        r"?%{DATA:@seq_num}\) from %{IP:@src_ip} \(user= ?%{DATA:@user}\) to %{IP:@dst_ip} that failed anti-replay checking\.?"
    ),
    "419001": (
        rf"%{{CISCO_ACTION:@action}} %{{WORD:@protocol}} packet from {_SRC} to {_DST}, reason: %{{GREEDYDATA:@reason}}"
    ),
    "419002": (
        r"%{CISCO_REASON:@reason} from %{DATA:@src_interface}:%{IP:@src_ip}/%{INT:@src_port} to %{DATA:@dst_interface}:"
        r"%{IP:@dst_ip}/%{INT:@dst_port} with different initial sequence number"
    ),
    "500004": (
        r"%{CISCO_REASON:@reason} for protocol=%{WORD:@protocol}, from %{IP:@src_ip}/%{INT:@src_port} to "
        r"%{IP:@dst_ip}/%{INT:@dst_port}"
    ),
    "602303_602304": (
        r"%{WORD:@protocol}: An %{CISCO_DIRECTION:@direction} %{DATA:@tunnel_type} SA \(SPI= ?%{DATA:@spi}\) between "
        r"%{IP:@src_ip} and %{IP:@dst_ip} \(user= ?%{DATA:@user}\) has been %{CISCO_ACTION:@action}"
    ),
    "710001_710002_710003_710005_710006": (
        r"%{WORD:@protocol} (?:request|access) %{CISCO_ACTION:@action} from %{IP:@src_ip}/%{INT:@src_port} to "
        r"%{DATA:@dst_interface}:%{IP:@dst_ip}/%{INT:@dst_port}"
    ),
    "713172": (
        r"Group = %{DATA:@group}, IP = %{IP:@src_ip}, Automatic NAT Detection Status:\s+Remote end\s*"
        r"%{DATA:@is_remote_natted}\s*behind a NAT device\s+This\s+end\s*%{DATA:@is_local_natted}\s*behind a NAT device"
    ),
    "733100": (
        r"\[\s*%{DATA:@drop_type}\s*\] drop %{DATA:@drop_rate_id} exceeded\. Current burst rate is "
        r"%{INT:@drop_rate_current_burst} per second, max configured rate is %{INT:@drop_rate_max_burst}; Current average "
        r"rate is %{INT:@drop_rate_current_avg} per second, max configured rate is %{INT:@drop_rate_max_avg}; Cumulative "
        r"total count is %{INT:@drop_total_count}"
    ),
}


def _cisco(names: dict[str, str]) -> dict[str, str]:
    patterns = {f"CISCOFW{numbers}": text for numbers, text in _MESSAGES.items()}
    patterns["CISCO_TAGGED_SYSLOG"] = (
        r"^<%{POSINT:@syslog_pri}>%{CISCOTIMESTAMP:timestamp}(?: %{SYSLOGHOST:@sysloghost})? ?: %%{CISCOTAG:@ciscotag}:"
    )
    for name in sorted(names, key=len, reverse=True):
        patterns = {key: text.replace(f"@{name}}}", f"{names[name]}}}") for key, text in patterns.items()}
    return _BASE | {key: text.replace("@", "") for key, text in patterns.items()}


LEGACY: dict[str, str] = _cisco({})

ECS: dict[str, str] = _cisco(
    {
        "syslog_pri": "[log][syslog][priority]:int", "sysloghost": "[host][hostname]", "ciscotag": "[cisco][asa][tag]",
        "direction": "[cisco][asa][network][direction]", "protocol": "[cisco][asa][network][transport]",
        "action": "[cisco][asa][outcome]", "reason": "[event][reason]", "switch_reason": "[event][reason]",
        "interface": "[observer][egress][interface][name]", "interface_name": "[network][interface][name]",
        "src_interface": "[observer][ingress][interface][name]", "dst_interface": "[observer][egress][interface][name]",
        "src_ip": "[source][ip]", "src_port": "[source][port]:int", "src_fwuser": "[source][user][name]",
        "dst_ip": "[destination][ip]", "dst_port": "[destination][port]:int", "dst_fwuser": "[destination][user][name]",
        "src_mapped_ip": "[source][nat][ip]", "src_mapped_port": "[source][nat][port]:int",
        "src_xlated_ip": "[source][nat][ip]", "src_xlated_port": "[source][nat][port]",
        "dst_mapped_ip": "[destination][nat][ip]", "dst_mapped_port": "[destination][nat][port]:int",
        "policy_id": "[cisco][asa][rule_name]", "icmp_type": "[cisco][asa][icmp_type]:int",
        "icmp_code": "[cisco][asa][icmp_code]:int", "hashcode1": "[cisco][asa][hash_code][first]",
        "hashcode2": "[cisco][asa][hash_code][second]", "tcp_flags": "[cisco][asa][tcp_flags]",
        "connection_id": "[cisco][asa][connection_id]", "hit_count": "[cisco][asa][hit_count]:int",
        "interval": "[metric][interval]", "bytes": "[network][bytes]:int", "user": "[user][name]",
        "duration": "[cisco][asa][duration]",
    }
)  # fmt: skip
