"""HAProxy (its HTTP and TCP log formats) and Squid (its native access log)."""

from __future__ import annotations

_BASE = {
    "HAPROXYTIME": r"%{HOUR}:%{MINUTE}(?::%{SECOND})",
    "HAPROXYDATE": r"%{MONTHDAY}/%{MONTH}/%{YEAR}:%{HOUR}:%{MINUTE}:[0-9]{2}\.%{INT}",
    "HAPROXYURI": (r"(?:%{URIPROTO}://)?(?:%{USER}(?::[^@ ]*)?@)?(?:%{URIHOST})?(?:%{URIPATH}(?:\?%{URIQUERY})?|\*)?"),
    "SQUID3_STATUS": r"(?:%{POSINT}|0|000)",
}

LEGACY: dict[str, str] = _BASE | {
    "HAPROXYCAPTUREDREQUESTHEADERS": r"%{DATA:captured_request_headers}",
    "HAPROXYCAPTUREDRESPONSEHEADERS": r"%{DATA:captured_response_headers}",
    "HAPROXYHTTPREQUESTLINE": (
        r"(?:<BADREQ>|%{WORD:http_verb} (?:%{URIPROTO:http_proto}://)?(?:%{USER:http_user}(?::[^@ ]*)?@)?"
        r"(?:%{URIHOST:http_host})?(?:%{URIPATHPARAM:http_request})?(?: HTTP/%{NUMBER:http_version})?)"
    ),
    "HAPROXYHTTPBASE": (
        r"%{IP:client_ip}:%{INT:client_port} \[%{HAPROXYDATE:accept_date}\] %{NOTSPACE:frontend_name} "
        r"%{NOTSPACE:backend_name}/%{NOTSPACE:server_name} %{INT:time_request}/%{INT:time_queue}"
        r"/%{INT:time_backend_connect}/%{INT:time_backend_response}/%{NOTSPACE:time_duration} %{INT:http_status_code} "
        r"%{NOTSPACE:bytes_read} %{DATA:captured_request_cookie} %{DATA:captured_response_cookie} "
        r"%{NOTSPACE:termination_state} %{INT:actconn}/%{INT:feconn}/%{INT:beconn}/%{INT:srvconn}/%{NOTSPACE:retries} "
        r"%{INT:srv_queue}/%{INT:backend_queue} (?:\{%{HAPROXYCAPTUREDREQUESTHEADERS}\} ?)?"
        r'(?:\{%{HAPROXYCAPTUREDRESPONSEHEADERS}\} ?)?"%{HAPROXYHTTPREQUESTLINE}"?'
    ),
    "HAPROXYHTTP": (
        r"(?:%{SYSLOGTIMESTAMP:syslog_timestamp}|%{TIMESTAMP_ISO8601:timestamp8601}) %{IPORHOST:syslog_server} "
        r"%{SYSLOGPROG}: %{HAPROXYHTTPBASE}"
    ),
    "HAPROXYTCP": (
        r"(?:%{SYSLOGTIMESTAMP:syslog_timestamp}|%{TIMESTAMP_ISO8601:timestamp8601}) %{IPORHOST:syslog_server} "
        r"%{SYSLOGPROG}: %{IP:client_ip}:%{INT:client_port} \[%{HAPROXYDATE:accept_date}\] %{NOTSPACE:frontend_name} "
        r"%{NOTSPACE:backend_name}/%{NOTSPACE:server_name} %{INT:time_queue}/%{INT:time_backend_connect}"
        r"/%{NOTSPACE:time_duration} %{NOTSPACE:bytes_read} %{NOTSPACE:termination_state} %{INT:actconn}/%{INT:feconn}"
        r"/%{INT:beconn}/%{INT:srvconn}/%{NOTSPACE:retries} %{INT:srv_queue}/%{INT:backend_queue}"
    ),
    "SQUID3": (
        r"%{NUMBER:timestamp}\s+%{NUMBER:duration}\s%{IP:client_address}\s%{WORD:cache_result}"
        r"/%{SQUID3_STATUS:status_code}\s%{NUMBER:bytes}\s%{WORD:request_method}\s%{NOTSPACE:url}\s"
        r"(?:-|%{NOTSPACE:user})\s%{WORD:hierarchy_code}/(?:-|%{IPORHOST:server})\s%{NOTSPACE:content_type}"
    ),
}

ECS: dict[str, str] = _BASE | {
    "HAPROXYCAPTUREDREQUESTHEADERS": r"%{DATA:[haproxy][http][request][captured_headers]}",
    "HAPROXYCAPTUREDRESPONSEHEADERS": r"%{DATA:[haproxy][http][response][captured_headers]}",
    "HAPROXYHTTPREQUESTLINE": (
        r"(?:<BADREQ>|%{WORD:[http][request][method]} %{HAPROXYURI:[url][original]}(?: HTTP/%{NUMBER:[http][version]})?)"
    ),
    "HAPROXYHTTPBASE": (
        r"%{IP:[source][address]}:%{INT:[source][port]:int} \[%{HAPROXYDATE:[haproxy][request_date]}\] "
        r"%{NOTSPACE:[haproxy][frontend_name]} %{NOTSPACE:[haproxy][backend_name]}"
        r"/(?:<NOSRV>|%{NOTSPACE:[haproxy][server_name]}) (?:-1|%{INT:[haproxy][http][request][time_wait_ms]:int})"
        r"/(?:-1|%{INT:[haproxy][total_waiting_time_ms]:int})/(?:-1|%{INT:[haproxy][connection_wait_time_ms]:int})"
        r"/(?:-1|%{INT:[haproxy][http][request][time_wait_without_data_ms]:int})/%{NOTSPACE:[haproxy][total_time_ms]} "
        r"(?:-1|%{INT:[http][response][status_code]:int}) %{INT:[source][bytes]:int} "
        r"(?:-|%{DATA:[haproxy][http][request][captured_cookie]}) "
        r"(?:-|%{DATA:[haproxy][http][response][captured_cookie]}) %{NOTSPACE:[haproxy][termination_state]} "
        r"%{INT:[haproxy][connections][active]:int}/%{INT:[haproxy][connections][frontend]:int}"
        r"/%{INT:[haproxy][connections][backend]:int}/%{INT:[haproxy][connections][server]:int}"
        r"/%{INT:[haproxy][connections][retries]:int} %{INT:[haproxy][server_queue]:int}"
        r"/%{INT:[haproxy][backend_queue]:int} (?:\{%{HAPROXYCAPTUREDREQUESTHEADERS}\} ?)?"
        r'(?:\{%{HAPROXYCAPTUREDRESPONSEHEADERS}\} ?)?"%{HAPROXYHTTPREQUESTLINE}"?'
    ),
    "HAPROXYHTTP": (
        r"(?:%{SYSLOGTIMESTAMP:timestamp}|%{TIMESTAMP_ISO8601:timestamp}) %{IPORHOST:[host][hostname]} "
        r"%{SYSLOGPROG}: %{HAPROXYHTTPBASE}"
    ),
    "HAPROXYTCP": (
        r"(?:%{SYSLOGTIMESTAMP:timestamp}|%{TIMESTAMP_ISO8601:timestamp}) %{IPORHOST:[host][hostname]} "
        r"%{SYSLOGPROG}: %{IP:[source][address]}:%{INT:[source][port]:int} \[%{HAPROXYDATE:[haproxy][request_date]}\] "
        r"%{NOTSPACE:[haproxy][frontend_name]} %{NOTSPACE:[haproxy][backend_name]}"
        r"/(?:<NOSRV>|%{NOTSPACE:[haproxy][server_name]}) (?:-1|%{INT:[haproxy][total_waiting_time_ms]:int})"
        r"/(?:-1|%{INT:[haproxy][connection_wait_time_ms]:int})/%{NOTSPACE:[haproxy][total_time_ms]} "
        r"%{INT:[source][bytes]:int} %{NOTSPACE:[haproxy][termination_state]} "
        r"%{INT:[haproxy][connections][active]:int}/%{INT:[haproxy][connections][frontend]:int}"
        r"/%{INT:[haproxy][connections][backend]:int}/%{INT:[haproxy][connections][server]:int}"
        r"/%{INT:[haproxy][connections][retries]:int} %{INT:[haproxy][server_queue]:int}"
        r"/%{INT:[haproxy][backend_queue]:int}"
    ),
    "SQUID3": (
        r"%{NUMBER:timestamp}\s+%{NUMBER:[squid][request][duration]:int}\s%{IP:[source][ip]}\s%{WORD:[event][action]}"
        r"/%{SQUID3_STATUS:[http][response][status_code]:int}\s%{NUMBER:[http][response][bytes]:int}\s"
        r"%{WORD:[http][request][method]}\s%{NOTSPACE:[url][original]}\s(?:-|%{NOTSPACE:[user][name]})\s"
        r"%{WORD:[squid][hierarchy_code]}/(?:-|%{IPORHOST:[destination][address]})\s"
        r"(?:-|%{NOTSPACE:[http][response][mime_type]})"
    ),
}
