"""Logs of languages and frameworks: Java's servers, Ruby's Logger, Rails, MCollective, Maven's versions, PAM."""

from __future__ import annotations

_BASE = {
    "CATALINA7_DATESTAMP": r"%{MONTH} %{MONTHDAY}, %{YEAR} %{HOUR}:%{MINUTE}:%{SECOND} (?:AM|PM)",
    "CATALINA8_DATESTAMP": r"%{MONTHDAY}-%{MONTH}-%{YEAR} %{HOUR}:%{MINUTE}:%{SECOND}",
    "TOMCATLEGACY_DATESTAMP": r"%{YEAR}-%{MONTHNUM}-%{MONTHDAY} %{HOUR}:%{MINUTE}:%{SECOND}(?: %{ISO8601_TIMEZONE})?",
    "MAVEN_VERSION": r"(?:[0-9]+\.)?(?:[0-9]+\.)?(?:\*|[0-9]+)(?:[.-](?:RELEASE|SNAPSHOT))?",
    "RUUID": r"[0-9A-Fa-f]{32}",
    "RAILS_TIMESTAMP": r"%{YEAR}-%{MONTHNUM}-%{MONTHDAY} %{HOUR}:%{MINUTE}:%{SECOND} %{ISO8601_TIMEZONE}",
    "MCOLLECTIVEAUDIT": r"%{TIMESTAMP_ISO8601:timestamp}:",
    "RAILS3": r"%{RAILS3HEAD}(?:%{RPROCESSING})?(?<@context>(?:[^\n]*\n)*)(?:%{RAILS3FOOT})?",
    "TOMCAT7_LOG": r"%{CATALINA7_LOG}",
    "TOMCAT8_LOG": r"%{CATALINA8_LOG}",
}


def _tomcat(level: str, thread: str, of_class: str, method: str, message: str) -> dict[str, str]:
    return {
        "CATALINA7_LOG": (
            rf"%{{CATALINA7_DATESTAMP:timestamp}} %{{JAVACLASS:{of_class}}}(?: %{{JAVAMETHOD:{method}}})?\s*"
            rf"(?:%{{LOGLEVEL:{level}}}): %{{JAVALOGMESSAGE:{message}}}"
        ),
        "CATALINA8_LOG": (
            rf"%{{CATALINA8_DATESTAMP:timestamp}} %{{LOGLEVEL:{level}}} \[%{{DATA:{thread}}}\] "
            rf"%{{JAVACLASS:{of_class}}}\.(?:%{{JAVAMETHOD:{method}}})? %{{JAVALOGMESSAGE:{message}}}"
        ),
        "TOMCATLEGACY_LOG": (
            rf"%{{TOMCATLEGACY_DATESTAMP:timestamp}} \| %{{LOGLEVEL:{level}}} \| %{{JAVACLASS:{of_class}}} - "
            rf"%{{JAVALOGMESSAGE:{message}}}"
        ),
    }


def _rails(names: dict[str, str]) -> dict[str, str]:
    patterns = {
        "RCONTROLLER": r"(?<@controller>[^#\s]+)#(?<@action>\w+)",
        "RAILS3HEAD": (
            r'Started %{WORD:@verb} "%{URIPATHPARAM:@request}" for %{IPORHOST:@clientip} at %{RAILS_TIMESTAMP:timestamp}'
        ),
        "RPROCESSING": (
            r"\W*Processing by %{RCONTROLLER} as (?<@format>[^\s]+)(?:\s+Parameters: \{(?<@params>[^\n]*)\}\s*)?"
        ),
        "RAILS3FOOT": (
            r"Completed %{POSINT:@response}[^\n]*? in %{NUMBER:@totalms}ms(?: %{RAILS3PROFILE})?%{GREEDYDATA}"
        ),
        "RAILS3PROFILE": (
            r"\((?:Views: %{NUMBER:@viewms}ms \| ActiveRecord: %{NUMBER:@activerecordms}ms|ActiveRecord: "
            r"%{NUMBER:@activerecordms}ms)?"
        ),
        "RAILS3": _BASE["RAILS3"],
    }
    for name, path in sorted(names.items(), key=lambda pair: -len(pair[0])):
        patterns = {key: text.replace(f"@{name}", path) for key, text in patterns.items()}
    return {key: text.replace("@", "") for key, text in patterns.items()}


LEGACY: dict[str, str] = (
    _BASE
    | _tomcat("level", "thread", "class", "method", "logmessage")
    | _rails({})
    | {
        "CATALINALOG": (
            r"(?:%{CATALINA8_LOG}|%{CATALINA_DATESTAMP:timestamp} %{JAVACLASS:class} %{JAVALOGMESSAGE:logmessage})"
        ),
        "TOMCATLOG": (
            r"(?:%{TOMCAT8_LOG}|%{TOMCAT_DATESTAMP:timestamp} \| %{LOGLEVEL:level} \| %{JAVACLASS:class} - "
            r"%{JAVALOGMESSAGE:logmessage})"
        ),
        "RUBY_LOGGER": (
            r"[DFEWI], \[%{TIMESTAMP_ISO8601:timestamp} #%{POSINT:pid}\] *%{RUBY_LOGLEVEL:loglevel} -- +%{DATA:progname}: "
            r"%{GREEDYDATA:message}"
        ),
        "MCOLLECTIVE": r"., \[%{TIMESTAMP_ISO8601:timestamp} #%{POSINT:pid}\]%{SPACE}%{LOGLEVEL:event_level}",
        "SYSLOGPAMSESSION": (
            r"%{SYSLOGBASE} (?<message>%{WORD:pam_module}\(%{DATA:pam_caller}\): session %{WORD:pam_session_state} "
            r"for user %{USERNAME:username}(?:\([^)]*\))?(?: by %{GREEDYDATA:pam_by})?)"
        ),
    }
)

ECS: dict[str, str] = (
    _BASE
    | _tomcat(
        "[log][level]", "[java][log][origin][thread][name]", "[java][log][origin][class][name]",
        "[log][origin][function]", "message",
    )
    | _rails(
        {
            "controller": "[rails][controller][class]",
            "action": "[rails][controller][action]",
            "verb": "[http][request][method]",
            "request": "[url][original]",
            "clientip": "[source][address]",
            "format": "[rails][request][format]",
            "params": "[rails][request][params]",
            "response": "[http][response][status_code]:int",
            "totalms": "[rails][request][duration][total]:float",
            "viewms": "[rails][request][duration][view]:float",
            "activerecordms": "[rails][request][duration][active_record]:float",
            "context": "[rails][request][explain][original]",
        }
    )
    | {
        "CATALINALOG": r"(?:%{CATALINA8_LOG}|%{CATALINA7_LOG})",
        "TOMCATLOG": r"(?:%{TOMCAT8_LOG}|%{TOMCAT7_LOG}|%{TOMCATLEGACY_LOG})",
        "RUBY_LOGGER": (
            r"[DFEWI], \[%{TIMESTAMP_ISO8601:timestamp} #%{POSINT:[process][pid]:int}\] *%{RUBY_LOGLEVEL:[log][level]} -- "
            r"+%{DATA:[process][name]}: %{GREEDYDATA:message}"
        ),
        "MCOLLECTIVE": (
            r"., \[%{TIMESTAMP_ISO8601:timestamp} #%{POSINT:[process][pid]:int}\]%{SPACE}%{LOGLEVEL:[log][level]}"
        ),
        "SYSLOGPAMSESSION": (
            r"%{SYSLOGBASE} (?<message>%{WORD:[system][auth][pam][module]}\(%{DATA:[system][auth][pam][origin]}\): "
            r"session %{WORD:[system][auth][pam][session_state]} for user %{USERNAME:[user][name]}(?:\([^)]*\))?"
            r"(?: by %{GREEDYDATA})?)"
        ),
    }
)  # fmt: skip
