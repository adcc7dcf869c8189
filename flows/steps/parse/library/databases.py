"""MongoDB, PostgreSQL and Redis."""

from __future__ import annotations

_BASE = {
    "MONGO_WORDDASH": r"\b[\w-]+\b",
    "MONGO3_SEVERITY": r"\w",
    "MONGO3_COMPONENT": r"(?:%{WORD}|-)",
    "MONGO_QUERY": r"\{ .* \}(?= ntoreturn:)",
    "REDISTIMESTAMP": r"%{MONTHDAY} %{MONTH}(?: %{YEAR})? %{TIME}",
}


def _mongo(component: str, severity: str, context: str, slow: str) -> dict[str, str]:
    def of(name: str) -> str:
        return slow.replace("*", name)

    return {
        "MONGO_LOG": rf"%{{SYSLOGTIMESTAMP:timestamp}} \[%{{WORD:{component}}}\] %{{GREEDYDATA:message}}",
        "MONGO_SLOWQUERY": (
            rf"%{{WORD}} %{{MONGO_WORDDASH:{of('database')}}}\.%{{MONGO_WORDDASH:{of('collection')}}} %{{WORD}}: "
            rf"%{{MONGO_QUERY:{of('query')}}} ntoreturn:%{{NONNEGINT:{of('ntoreturn')}}} "
            rf"ntoskip:%{{NONNEGINT:{of('ntoskip')}}} nscanned:%{{NONNEGINT:{of('nscanned')}}}.*? "
            rf"nreturned:%{{NONNEGINT:{of('nreturned')}}}.*? (?<{of('duration')}>[0-9]+)ms"
        ),
        "MONGO3_LOG": (
            rf"%{{TIMESTAMP_ISO8601:timestamp}} +%{{MONGO3_SEVERITY:{severity}}} +%{{MONGO3_COMPONENT:{component}}}"
            rf"%{{SPACE}}(?:\[%{{DATA:{context}}}\] )?%{{SPACE}}%{{GREEDYDATA:message}}"
        ),
    }


LEGACY: dict[str, str] = (
    _BASE
    | _mongo("component", "severity", "context", "*")
    | {
        "POSTGRESQL": r"%{DATESTAMP:timestamp} %{TZ} %{DATA:user_id} %{GREEDYDATA:connection_id} %{POSINT:pid}",
        "REDISLOG": r"\[%{POSINT:pid}\] %{REDISTIMESTAMP:timestamp} \* ",
        "REDISMONLOG": (
            r"%{NUMBER:timestamp} \[%{INT:database} %{IP:client}:%{NUMBER:port}\] "
            r'"%{WORD:command}"\s?%{GREEDYDATA:params}'
        ),
    }
)

ECS: dict[str, str] = (
    _BASE
    | _mongo("[mongodb][component]", "[log][level]", "[mongodb][context]", "[mongodb][profile][*]")
    | {
        "POSTGRESQL": (
            r"%{DATESTAMP:timestamp} %{TZ:[event][timezone]} %{DATA:[user][name]} "
            r"%{GREEDYDATA:[postgresql][log][connection_id]} %{POSINT:[process][pid]:int}"
        ),
        "REDISLOG": r"\[%{POSINT:[process][pid]:int}\] %{REDISTIMESTAMP:timestamp} \* ",
        "REDISMONLOG": (
            r"%{NUMBER:timestamp} \[%{INT:[redis][database][id]} %{IP:[client][ip]}:%{POSINT:[client][port]:int}\] "
            r'"%{WORD:[redis][command][name]}"\s?%{GREEDYDATA:[redis][command][args]}'
        ),
    }
)
