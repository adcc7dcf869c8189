"""Access logs of AWS: S3, the classic and application load balancers, CloudFront."""

from __future__ import annotations

_S3 = (
    r"%{WORD:@owner} %{NOTSPACE:@bucket} \[%{HTTPDATE:timestamp}\] (?:-|%{IP:@clientip}) (?:-|%{NOTSPACE:@requester}) "
    r'%{NOTSPACE:@request_id} %{NOTSPACE:@operation} (?:-|%{NOTSPACE:@key}) (?:"%{S3_REQUEST_LINE}"|-) '
    r"(?:-|%{INT:@response:int}) (?:-|%{NOTSPACE:@error_code}) (?:-|%{INT:@bytes:int}) (?:-|%{INT:@object_size:int}) "
    r"(?:-|%{INT:@request_time_ms:int}) (?:-|%{INT:@turnaround_time_ms:int}) @referrer @agent "
    r"(?:-|%{NOTSPACE:@version_id})"
)

_ELB = (
    r"%{TIMESTAMP_ISO8601:timestamp} %{NOTSPACE:@elb} %{IP:@clientip}:%{INT:@clientport:int} "
    r"(?:-|%{IP:@backendip}:%{INT:@backendport:int}) (?:-1|%{NUMBER:@request_processing_time:float}) "
    r"(?:-1|%{NUMBER:@backend_processing_time:float}) (?:-1|%{NUMBER:@response_processing_time:float}) "
    r"(?:-|%{INT:@response:int}) (?:-|%{INT:@backend_response:int}) %{INT:@received_bytes:int} %{INT:@bytes:int} "
    r'"%{ELB_REQUEST_LINE}"'
)

_CLOUDFRONT = (
    r"(?<timestamp>%{YEAR}-%{MONTHNUM}-%{MONTHDAY}\t%{TIME})\t%{NOTSPACE:@x_edge_location}\t(?:-|%{INT:@sc_bytes:int})\t"
    r"%{IPORHOST:@clientip}\t%{WORD:@cs_method}\t%{HOSTNAME:@cs_host}\t%{NOTSPACE:@cs_uri_stem}\t"
    r"(?:-|000|%{INT:@sc_status:int})\t%{DATA:@referrer}\t%{DATA:@agent}\t%{DATA:@cs_uri_query}\t%{DATA:@cookies}\t"
    r"%{WORD:@x_edge_result_type}\t%{NOTSPACE:@x_edge_request_id}\t%{HOSTNAME:@x_host_header}\t"
    r"%{URIPROTO:@cs_protocol}\t%{INT:@cs_bytes:int}\t%{NUMBER:@time_taken:float}\t%{DATA:@x_forwarded_for}\t"
    r"%{DATA:@ssl_protocol}\t%{DATA:@ssl_cipher}\t%{NOTSPACE:@x_edge_response_result_type}"
)


def _named(pattern: str, names: dict[str, str]) -> str:
    """`pattern` with each `@name` as `names` has it, else as it is written."""
    for name in sorted(names, key=len, reverse=True):
        pattern = pattern.replace(f"@{name}", names[name])
    return pattern.replace("@", "")


LEGACY: dict[str, str] = {
    "S3_REQUEST_LINE": r"(?:%{WORD:verb} %{NOTSPACE:request}(?: HTTP/%{NUMBER:httpversion})?|%{DATA:rawrequest})",
    "S3_ACCESS_LOG": _named(_S3, {"referrer": r"(?:-|%{QS:referrer})", "agent": r"(?:-|%{QS:agent})"}),
    "ELB_URIPATHPARAM": r"%{URIPATH:path}(?:%{URIPARAM:params})?",
    "ELB_URI": r"%{URIPROTO:proto}://(?:%{USER}(?::[^@ ]*)?@)?(?:%{URIHOST:urihost})?(?:%{ELB_URIPATHPARAM})?",
    "ELB_REQUEST_LINE": (
        r"(?:%{WORD:verb} %{ELB_URI:request}(?: HTTP/%{NUMBER:httpversion})?|- - -|%{DATA:rawrequest})"
    ),
    "ELB_ACCESS_LOG": _named(_ELB, {}),
    "ELB_V1_HTTP_LOG": _named(_ELB, {}),
    "CLOUDFRONT_ACCESS_LOG": _named(_CLOUDFRONT, {}),
}

ECS: dict[str, str] = {
    "S3_REQUEST_LINE": (
        r"(?:%{WORD:[http][request][method]} %{NOTSPACE:[url][original]}(?: HTTP/%{NUMBER:[http][version]})?)"
    ),
    "S3_ACCESS_LOG": _named(
        _S3,
        {
            "owner": "[aws][s3access][bucket_owner]",
            "bucket": "[aws][s3access][bucket]",
            "clientip": "[client][ip]",
            "requester": "[client][user][id]",
            "request_id": "[aws][s3access][request_id]",
            "operation": "[aws][s3access][operation]",
            "key": "[aws][s3access][key]",
            "response": "[http][response][status_code]",
            "error_code": "[aws][s3access][error_code]",
            "bytes": "[aws][s3access][bytes_sent]",
            "object_size": "[aws][s3access][object_size]",
            "request_time_ms": "[aws][s3access][total_time]",
            "turnaround_time_ms": "[aws][s3access][turn_around_time]",
            "referrer": r'"?(?:-|%{DATA:[http][request][referrer]})"?',
            "agent": r'"?(?:-|%{DATA:[user_agent][original]})"?',
            "version_id": "[aws][s3access][version_id]",
        },
    ),
    "ELB_URIPATHQUERY": r"%{URIPATH:[url][path]}(?:\?%{URIQUERY:[url][query]})?",
    "ELB_URIPATHPARAM": r"%{ELB_URIPATHQUERY}",
    "ELB_URI": (
        r"%{URIPROTO:[url][scheme]}://(?:%{USER:[url][username]}(?::[^@ ]*)?@)?"
        r"(?:%{IPORHOST:[url][domain]}(?::%{POSINT:[url][port]:int})?)?(?:%{ELB_URIPATHQUERY})?"
    ),
    "ELB_REQUEST_LINE": (
        r"(?:%{WORD:[http][request][method]} %{ELB_URI:[url][original]}(?: HTTP/%{NUMBER:[http][version]})?|- - -)"
    ),
    "ELB_V1_HTTP_LOG": _named(
        _ELB,
        {
            "elb": "[aws][elb][name]",
            "clientip": "[source][ip]",
            "clientport": "[source][port]",
            "backendip": "[aws][elb][backend][ip]",
            "backendport": "[aws][elb][backend][port]",
            "request_processing_time": "[aws][elb][request_processing_time][sec]",
            "backend_processing_time": "[aws][elb][backend_processing_time][sec]",
            "response_processing_time": "[aws][elb][response_processing_time][sec]",
            "response": "[http][response][status_code]",
            "backend_response": "[aws][elb][backend][http][response][status_code]",
            "received_bytes": "[http][request][body][bytes]",
            "bytes": "[http][response][body][bytes]",
        },
    )
    + r'(?: "(?:-|%{DATA:[user_agent][original]})"(?: (?:-|%{NOTSPACE:[tls][cipher]}) '
    r"(?:-|%{NOTSPACE:[aws][elb][ssl_protocol]}))?)?",
    "ELB_ACCESS_LOG": r"%{ELB_V1_HTTP_LOG}",
    "CLOUDFRONT_ACCESS_LOG": _named(
        _CLOUDFRONT,
        {
            "x_edge_location": "[aws][cloudfront][x_edge_location]",
            "sc_bytes": "[destination][bytes]",
            "clientip": "[source][ip]",
            "cs_method": "[http][request][method]",
            "cs_host": "[url][domain]",
            "cs_uri_stem": "[url][path]",
            "sc_status": "[http][response][status_code]",
            "referrer": "[http][request][referrer]",
            "agent": "[user_agent][original]",
            "cs_uri_query": "[url][query]",
            "cookies": "[aws][cloudfront][http][request][cookie]",
            "x_edge_result_type": "[aws][cloudfront][x_edge_result_type]",
            "x_edge_request_id": "[aws][cloudfront][x_edge_request_id]",
            "x_host_header": "[aws][cloudfront][http][request][host]",
            "cs_protocol": "[network][protocol]",
            "cs_bytes": "[source][bytes]",
            "time_taken": "[aws][cloudfront][time_taken]",
            "x_forwarded_for": "[network][forwarded_ip]",
            "ssl_protocol": "[aws][cloudfront][ssl_protocol]",
            "ssl_cipher": "[tls][cipher]",
            "x_edge_response_result_type": "[aws][cloudfront][x_edge_response_result_type]",
        },
    ),
}
