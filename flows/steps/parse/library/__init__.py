"""All named patterns of grok, in both conventions of their captures: those any log is made of, and those of products.

`patterns` has the former. Here is what products write, a file for each family; the names of patterns and captures are
those that Logstash's users know, the expressions follow from the formats' own documentation.
"""

from __future__ import annotations

from flows.steps.parse import patterns
from flows.steps.parse.library import applications, cisco, cloud, databases, mail, nagios, network, proxies, zeek

_FAMILIES = (applications, cisco, cloud, databases, mail, nagios, network, proxies, zeek)

LEGACY: dict[str, str] = dict(patterns.LEGACY)
ECS: dict[str, str] = dict(patterns.ECS)
for family in _FAMILIES:
    LEGACY |= family.LEGACY
    ECS |= family.ECS
