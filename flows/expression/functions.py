"""The DuckDB functions an expression may call: pure ones, of one event, whose cost is bounded by the event.

DuckDB itself says which functions are scalar and consistent (`duckdb_functions()`); the lists here take away those that
see the clock, settings or catalogs (some behind a consistent name), whose values differ between versions of DuckDB, or
that make something huge out of a small number.
"""

from __future__ import annotations

import difflib
from functools import lru_cache

from flows.expression.syntax import run


def words(text: str) -> frozenset[str]:
    """The names in a text, as a set."""
    return frozenset(text.split())


_MACROS = words(
    """
    array_append array_pop_back array_pop_front array_prepend array_push_back array_push_front array_reverse
    array_to_string array_to_string_comma_default date_add days_in_month fdiv fmod geomean geometric_mean if
    json list_any_value list_append list_approx_count_distinct list_avg list_bit_and list_bit_or list_bit_xor
    list_bool_and list_bool_or list_count list_entropy list_first list_histogram list_kurtosis list_kurtosis_pop
    list_last list_mad list_max list_median list_min list_mode list_prepend list_product list_reverse list_sem
    list_skewness list_stddev_pop list_stddev_samp list_string_agg list_sum list_var_pop list_var_samp
    map_contains_entry map_contains_value md5_number_lower md5_number_upper nullif split_part wavg weighted_avg
    """
)

_REFUSED: dict[str, str] = {
    **dict.fromkeys(
        words(
            """
    now today current_date current_time current_timestamp localtime localtimestamp get_current_time
    get_current_timestamp transaction_timestamp current_localtime current_localtimestamp ago sleep_ms pg_sleep
    """
        ),
        "use received_at: a replay must give the same rows",
    ),
    **dict.fromkeys(
        words("random setseed uuid gen_random_uuid uuidv4 uuidv7 nextval currval"),
        "use event_id, or sha256 of a field: a replay must give the same rows",
    ),
    "hash": "use sha256 or md5, whose value is the same in every version",
    **dict.fromkeys(
        words("range generate_series list_resize array_resize bar bitstring enum_range enum_range_boundary"),
        "its result is not bounded by the event",
    ),
    **dict.fromkeys(
        words("reduce list_reduce array_reduce"), "use list_sum, list_max, list_aggregate: its cost is not bounded"
    ),
    **dict.fromkeys(
        words(
            """
    version error write_log json_serialize_sql json_deserialize_sql json_serialize_plan make_type cast_to_type
    get_type in_search_path vector_type constant_or_null parse_duckdb_log_message create_sort_key stats invoke
    alias finalize combine to_aggregate_state index_key remap_struct replace_type unpivot_list getenv
    current_setting getvariable
    """
        ),
        "an expression can read nothing but the event",
    ),
}

CLAMPED = frozenset({"repeat", "lpad", "rpad"})
"""Functions whose second argument is a length: it is held to `MAX_LENGTH`."""

MAX_LENGTH = 10_000
FORMATS = frozenset({"format", "printf"})
"""Functions whose first argument can ask for a width: it must be a constant without a large or computed one."""

ARITHMETIC = words(
    """
    + - * / // % ** ^ @ abs round floor ceil ceiling trunc sqrt cbrt exp ln log log2 log10 pow power mod fmod
    fdiv sign sin cos tan asin acos atan atan2 degrees radians isnan isinf isfinite gcd lcm even round_even
    bit_count
    """
)
TEMPORAL = words(
    """
    date_trunc datetrunc date_part datepart date_diff datediff date_sub datesub date_add time_bucket strftime
    year month day hour minute second millisecond microsecond quarter week weekday weekofyear yearweek isodow
    isoyear dayofweek dayofmonth dayofyear dayname monthname century decade epoch epoch_ms epoch_us epoch_ns
    last_day julian era timezone age millennium days_in_month
    """
)
UNIFYING = frozenset({"if", "greatest", "least", "list_value"})
"""Functions whose arguments share one type, from the second on for `if`."""

LAMBDAS = words("list_transform array_transform list_apply array_apply apply list_filter array_filter filter")


@lru_cache(maxsize=1)
def allowed() -> frozenset[str]:
    """The names that can be called."""
    rows = run(
        """SELECT DISTINCT lower(function_name) FROM duckdb_functions()
           WHERE function_type = 'scalar' AND stability = 'CONSISTENT'
           EXCEPT SELECT lower(function_name) FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"""
    )
    pure = {name for (name,) in rows if not name.startswith(("__", "collate_", "icu_", "st_", "variant_"))}
    return frozenset((pure | _MACROS) - _REFUSED.keys())


@lru_cache(maxsize=1)
def aggregates() -> frozenset[str]:
    """The names of aggregate and window functions, which see more than one event."""
    rows = run(
        "SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE function_type IN ('aggregate', 'window')"
    )
    return frozenset(name for (name,) in rows) - allowed()


def refusal(name: str) -> tuple[str, str | None] | None:
    """Why a function cannot be called, and what to do instead; None when it can."""
    if name in allowed():
        return None
    if name in _REFUSED:
        return f"the function {name}() cannot be used here", _REFUSED[name]
    if name in aggregates():
        return f"{name}() is over many events; an expression sees one event", None
    known = run("SELECT count(*) FROM duckdb_functions() WHERE lower(function_name) = ?", name)[0][0]
    if known:
        return f"the function {name}() cannot be used here", "an expression can read nothing but the event"
    near = difflib.get_close_matches(name, allowed(), n=1)
    return f"unknown function {name}()", f"did you mean '{near[0]}'?" if near else None
