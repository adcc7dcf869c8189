"""Nagios's log: a time since 1970 in brackets, a kind, and values between semicolons."""

from __future__ import annotations

_ALERT = (
    r"%{DATA:@hostname};%{DATA:@service};%{DATA:@state};%{DATA:@statelevel};%{NUMBER:@attempt};%{GREEDYDATA:@message}"
)
_HOST_ALERT = r"%{DATA:@hostname};%{DATA:@state};%{DATA:@statelevel};%{NUMBER:@attempt};%{GREEDYDATA:@message}"
_CURRENT_SERVICE = (
    r"%{DATA:@hostname};%{DATA:@service};%{DATA:@state};%{DATA:@statetype};%{DATA:@statecode};%{GREEDYDATA:@message}"
)
_CURRENT_HOST = r"%{DATA:@hostname};%{DATA:@state};%{DATA:@statetype};%{DATA:@statecode};%{GREEDYDATA:@message}"
_NOTIFY = (
    r"%{DATA:@notifyname};%{DATA:@hostname};%{DATA:@service};%{DATA:@state};%{DATA:@contact};%{GREEDYDATA:@message}"
)
_HOST_NOTIFY = r"%{DATA:@notifyname};%{DATA:@hostname};%{DATA:@state};%{DATA:@contact};%{GREEDYDATA:@message}"

_LINES = {
    "CURRENT_SERVICE_STATE": ("CURRENT SERVICE STATE", _CURRENT_SERVICE),
    "CURRENT_HOST_STATE": ("CURRENT HOST STATE", _CURRENT_HOST),
    "SERVICE_NOTIFICATION": ("SERVICE NOTIFICATION", _NOTIFY),
    "HOST_NOTIFICATION": ("HOST NOTIFICATION", _HOST_NOTIFY),
    "SERVICE_ALERT": ("SERVICE ALERT", _ALERT),
    "HOST_ALERT": ("HOST ALERT", _HOST_ALERT),
    "SERVICE_FLAPPING_ALERT": (
        "SERVICE FLAPPING ALERT", r"%{DATA:@hostname};%{DATA:@service};%{DATA:@state};%{GREEDYDATA:@message}",
    ),
    "HOST_FLAPPING_ALERT": ("HOST FLAPPING ALERT", r"%{DATA:@hostname};%{DATA:@state};%{GREEDYDATA:@message}"),
    "SERVICE_DOWNTIME_ALERT": (
        "SERVICE DOWNTIME ALERT", r"%{DATA:@hostname};%{DATA:@service};%{DATA:@state};%{GREEDYDATA:@comment}",
    ),
    "HOST_DOWNTIME_ALERT": ("HOST DOWNTIME ALERT", r"%{DATA:@hostname};%{DATA:@state};%{GREEDYDATA:@comment}"),
    "PASSIVE_SERVICE_CHECK": (
        "PASSIVE SERVICE CHECK", r"%{DATA:@hostname};%{DATA:@service};%{DATA:@state};%{GREEDYDATA:@comment}",
    ),
    "PASSIVE_HOST_CHECK": ("PASSIVE HOST CHECK", r"%{DATA:@hostname};%{DATA:@state};%{GREEDYDATA:@comment}"),
    "SERVICE_EVENT_HANDLER": (
        "SERVICE EVENT HANDLER",
        r"%{DATA:@hostname};%{DATA:@service};%{DATA:@state};%{DATA:@statelevel};%{DATA:@event_handler_name}",
    ),
    "HOST_EVENT_HANDLER": (
        "HOST EVENT HANDLER", r"%{DATA:@hostname};%{DATA:@state};%{DATA:@statelevel};%{DATA:@event_handler_name}",
    ),
    "TIMEPERIOD_TRANSITION": (
        "TIMEPERIOD TRANSITION", r"%{DATA:@tp_service};%{NUMBER:@unknown1};%{NUMBER:@unknown2}",
    ),
}  # fmt: skip

_COMMANDS = {
    "DISABLE_SVC_CHECK": r"%{DATA:@hostname};%{GREEDYDATA:@service}",
    "ENABLE_SVC_CHECK": r"%{DATA:@hostname};%{GREEDYDATA:@service}",
    "DISABLE_HOST_CHECK": r"%{GREEDYDATA:@hostname}",
    "ENABLE_HOST_CHECK": r"%{GREEDYDATA:@hostname}",
    "DISABLE_HOST_SVC_NOTIFICATIONS": r"%{GREEDYDATA:@hostname}",
    "ENABLE_HOST_SVC_NOTIFICATIONS": r"%{GREEDYDATA:@hostname}",
    "DISABLE_HOST_NOTIFICATIONS": r"%{GREEDYDATA:@hostname}",
    "ENABLE_HOST_NOTIFICATIONS": r"%{GREEDYDATA:@hostname}",
    "DISABLE_SVC_NOTIFICATIONS": r"%{DATA:@hostname};%{GREEDYDATA:@service}",
    "ENABLE_SVC_NOTIFICATIONS": r"%{DATA:@hostname};%{GREEDYDATA:@service}",
    "PROCESS_SERVICE_CHECK_RESULT": (
        r"%{DATA:@hostname};%{DATA:@service};%{DATA:@state};%{GREEDYDATA:@check_result}"
    ),
    "PROCESS_HOST_CHECK_RESULT": r"%{DATA:@hostname};%{DATA:@state};%{GREEDYDATA:@check_result}",
    "SCHEDULE_HOST_DOWNTIME": (
        r"%{DATA:@hostname};%{NUMBER:@start_time};%{NUMBER:@end_time};%{NUMBER:@fixed};%{NUMBER:@trigger_id};"
        r"%{NUMBER:@duration};%{DATA:@author};%{DATA:@comment}"
    ),
}  # fmt: skip


def _nagios(names: dict[str, str]) -> dict[str, str]:
    patterns = {"NAGIOSTIME": r"\[%{NUMBER:@epoch}\]", "NAGIOS_WARNING": r"Warning:%{SPACE}%{GREEDYDATA:@message}"}
    lines = ["%{NAGIOS_WARNING}"]
    for name, (kind, values) in _LINES.items():
        patterns[f"NAGIOS_TYPE_{name}"] = kind
        patterns[f"NAGIOS_{name}"] = f"%{{NAGIOS_TYPE_{name}:@type}}: {values}"
        lines.append(f"%{{NAGIOS_{name}}}")
    patterns["NAGIOS_TYPE_EXTERNAL_COMMAND"] = "EXTERNAL COMMAND"
    for name, values in _COMMANDS.items():
        patterns[f"NAGIOS_EC_{name}"] = name
        patterns[f"NAGIOS_EC_LINE_{name}"] = (
            f"%{{NAGIOS_TYPE_EXTERNAL_COMMAND:@type}}: %{{NAGIOS_EC_{name}:@command}};{values}"
        )
        lines.append(f"%{{NAGIOS_EC_LINE_{name}}}")
    # Whole lines only: what is lazy in one kind would else end before the line does.
    patterns["NAGIOSLOGLINE"] = f"%{{NAGIOSTIME}} (?:{'|'.join(lines)})$"
    for name in sorted(names, key=len, reverse=True):
        patterns = {key: text.replace(f"@{name}", names[name]) for key, text in patterns.items()}
    return {key: text.replace("@", "nagios_") for key, text in patterns.items()}


LEGACY: dict[str, str] = _nagios({"tp_service": "nagios_service"})

ECS: dict[str, str] = _nagios(
    {
        "epoch": "timestamp",
        "type": "[nagios][log][type]",
        "hostname": "[host][hostname]",
        "service": "[service][name]",
        "tp_service": "[service][name]",
        "state": "[service][state]",
        "statetype": "[nagios][log][state_type]",
        "statelevel": "[nagios][log][state_type]",
        "statecode": "[nagios][log][state_code]",
        "attempt": "[nagios][log][attempt]:int",
        "message": "message",
        "notifyname": "[user][name]",
        "contact": "[nagios][log][notification_command]",
        "comment": "[nagios][log][comment]",
        "command": "[nagios][log][command]",
        "check_result": "[nagios][log][check_result]",
        "event_handler_name": "[nagios][log][event_handler_name]",
        "unknown1": "[nagios][log][period_from]:int",
        "unknown2": "[nagios][log][period_to]:int",
        "start_time": "[nagios][log][start_time]",
        "end_time": "[nagios][log][end_time]",
        "fixed": "[nagios][log][fixed]",
        "trigger_id": "[nagios][log][trigger_id]",
        "duration": "[nagios][log][duration]",
        "author": "[user][name]",
    }
)
