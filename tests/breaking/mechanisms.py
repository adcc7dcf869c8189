"""Which mechanism keeps which promise (docs: design of `docs/guarantees.md`), how it is taken out, and which test notices.

A mechanism is taken out by replacing a text in a copy of the tree. `tests/breaking/test_mechanisms.py` sees to it that
each text is still there, once.
"""

from __future__ import annotations

from typing import NamedTuple


class Mechanism(NamedTuple):
    """`out` are (file, text, what stands in its place); `test` is what pytest is given, `k` chooses among its cases."""

    promise: str
    does: str
    out: tuple[tuple[str, str, str], ...]
    test: str
    k: str = ""
    slow: bool = False  # it starts a server in Java, or kills many processes


MECHANISMS: dict[str, Mechanism] = {
    "answer-after-append": Mechanism(
        "1",
        "the gateway answers 200 only after the append has returned",
        (
            (
                "gateway/appending.py",
                "        (self._log or self._open()).append(record)\n",
                "        threading.Thread(target=lambda: (self._log or self._open()).append(record)).start()\n",
            ),
        ),
        "tests/gateway/test_weather.py::test_a_log_that_is_down_means_503_and_readiness_says_so_until_it_is_back",
    ),
    "kafka-acknowledged": Mechanism(
        "1",
        "an append to Kafka waits for `acks=all`",
        (
            ("connectors/log/kafka/clients.py", '"acks": "all",', '"acks": 0,'),
            ("connectors/log/kafka/clients.py", '"enable_idempotence": True,', '"enable_idempotence": False,'),
        ),
        "tests/log/test_kafka.py::test_appends_are_refused_while_the_broker_is_down_and_work_again_when_it_is_back",
        slow=True,
    ),
    "kafka-producer-replaced": Mechanism(
        "1",
        "a Kafka producer that nothing is acknowledged to any more gives way to a new one",
        (
            (
                "connectors/log/kafka/__init__.py",
                "        if spent:\n            self._replace",
                "        if False:\n            self._replace",
            ),
        ),
        "tests/log/test_kafka.py::test_a_batch_that_was_sent_and_expired_unanswered_stops_nothing_that_comes_later",
        slow=True,
    ),
    "floor": Mechanism(
        "1",
        "the dataflow resumes from what every destination has committed, not from what it has read",
        (
            (
                "connectors/source.py",
                "        return self._progress.floors(self._partition, 0)\n",
                "        return dict.fromkeys(self._progress.names, self._main.position)\n",
            ),
        ),
        "tests/flows/test_kills.py",
        "embedded-local",
        slow=True,
    ),
    "published-floor": Mechanism(
        "1",
        "what is published for retention and for a change of the number of processes is what all destinations have",
        (
            (
                "connectors/source.py",
                "        floor = self._progress.floor(self._partition, 0)\n        if floor > self._committed:",
                "        floor = self._main.position\n        if floor > self._committed:",
            ),
        ),
        "tests/flows/test_isolation.py::test_a_process_that_is_killed_while_one_is_away_goes_on_for_both",
        slow=True,
    ),
    "refused-is-kept": Mechanism(
        "1",
        "what a destination refuses is a dead letter before the floor passes it",
        (
            (
                "connectors/sinks/push.py",
                "            self._undeliverable.keep(lane.partition, lane.stream, letters, end)\n",
                "            pass\n",
            ),
        ),
        "tests/sinks/test_push.py::test_a_refused_row_is_a_dead_letter_before_the_floor_passes_it",
    ),
    "acknowledged-by-the-indexer": Mechanism(
        "1",
        "what a collector took counts as delivered once it has acknowledged it",
        (("connectors/sinks/splunk_hec/endpoint.py", "*self._unacknowledged(taken)]", "]"),),
        "tests/siem/test_acknowledgement.py::test_killed_between_the_answer_and_the_acknowledgement_it_is_sent_again",
        slow=True,
    ),
    "number-given-twice": Mechanism(
        "1",
        "what a collector took under a number that it gives again is sent again",
        (("connectors/sinks/splunk_hec/endpoint.py", "forgotten += taken.get(number, ())", "pass"),),
        "tests/siem/test_acknowledgement.py"
        "::test_killed_between_two_parts_of_a_batch_it_counts_anew_and_loses_none_of_them",
        slow=True,
    ),
    "rejected-is-kept": Mechanism(
        "1",
        "what a strict schema refuses is a dead letter before its table is committed",
        (
            (
                "connectors/sinks/rejects.py",
                "                writer.commit_surely(engine)\n",
                "                writer.reset()\n",
            ),
        ),
        "tests/sinks/test_delta.py::test_what_a_strict_schema_rejects_is_a_dead_letter_once",
    ),
    "short-directories": Mechanism(
        "1",
        "a directory's name has the beginning of a partition's value alone, however long a client's source is",
        (("connectors/sinks/delta_files.py", 'quote(value, safe="")[:LONGEST_VALUE]', 'quote(value, safe="")'),),
        "tests/flows/test_dataflow.py::test_a_source_of_any_name_and_length_lands_where_tables_are_partitioned_by_it",
    ),
    "unwritable-is-kept": Mechanism(
        "1",
        "what no directory of another program's table can be named after is a dead letter",
        (("connectors/sinks/delta_table.py", "unwritable=unwritable)", "unwritable=None)"),),
        "tests/sinks/test_delta_files.py"
        "::test_a_value_that_another_programs_table_cannot_name_a_directory_after_is_a_dead_letter_once",
    ),
    "configuration-of-then": Mechanism(
        "1",
        "what was read before a change of the configuration goes through the one that was in force then",
        (("flows/in_force.py", "for term in self._earlier[partition]:\n", "for term in ():\n"),),
        "tests/flows/test_in_force.py::test_what_waits_for_one_that_is_away_reaches_it_though_routes_send_it_elsewhere_now",
        "killed-1",
    ),
    "read-so-far": Mechanism(
        "1",
        "how far was read is noted before anything of it is handed on",
        (
            (
                "flows/processing.py",
                "            self._terms.passes(batch.partition, batch.next_offset)\n",
                "            pass\n",
            ),
        ),
        "tests/flows/test_in_force.py::test_what_one_file_takes_and_the_next_refuses_is_a_dead_letter_or_there_by_when_it_was_read",
        "killed",
    ),
    "taken-out-goes-on": Mechanism(
        "1",
        "a stream with a memory that is taken out of the file brings what it still holds",
        (("flows/stateful/lanes.py", "else _gone(name, store)", "else None"),),
        "tests/stateful/test_taken_out.py::test_what_it_held_and_what_waited_for_its_table_arrives",
        "killed-1",
    ),
    "host-went-down": Mechanism(
        "1",
        "where the host went down, all that the log has counts as read",
        (("flows/position.py", "else max(found.handed, end())", "else found.handed"),),
        "tests/flows/test_in_force.py::test_where_the_host_went_down_all_that_the_log_had_goes_by_the_file_of_before",
    ),
    "rejected-later": Mechanism(
        "1",
        "what a strict schema rejects only when it comes again is looked for among its dead letters",
        (
            (
                "connectors/sinks/rejects.py",
                "            rows = self._new(rows)\n",
                "            rows = rows.slice(rows.num_rows)\n",
            ),
        ),
        "tests/sinks/test_delta.py::test_what_a_strict_schema_rejects_only_when_it_comes_again_is_a_dead_letter",
    ),
    "failed-is-wanted-again": Mechanism(
        "1",
        "after a failure a destination wants again all that it has not committed",
        (("connectors/sinks/delivery.py", "            self._wanted.update(self._floors)\n", ""),),
        "tests/sinks/test_delivery.py::test_after_a_failure_it_wants_again_what_is_not_safe_and_tries_it",
    ),
    "offset-with-the-rows": Mechanism(
        "2",
        "rows below the offset that the table itself has are skipped",
        (
            (
                "connectors/sinks/staged.py",
                "        start = int(np.searchsorted(offsets, committed))\n",
                "        start = 0\n",
            ),
        ),
        "tests/sinks/test_delta.py::test_a_restart_skips_what_the_table_has",
    ),
    "one-commit": Mechanism(
        "2",
        "rows and offsets are one commit",
        (
            (
                "connectors/sinks/delta_table.py",
                "table.append(rows, self._marks(), ",
                "table.append(rows, {}, ",
            ),
        ),
        "tests/sinks/test_delta.py::test_partitions_go_into_one_commit_each_with_its_offset",
    ),
    "asked-again": Mechanism(
        "2",
        "after a commit whose answer was lost the table is asked what it has",
        (
            (
                "connectors/sinks/delta_table.py",
                "        self._committed = {}\n",
                "",
            ),
        ),
        "tests/sinks/test_delivery.py::test_a_commit_whose_answer_was_lost_is_found_after_a_reset_and_the_same_writer_goes_on",
    ),
    "fence": Mechanism(
        "2",
        "the second of two writers of one partition is refused",
        (
            (
                "connectors/sinks/delta_table.py",
                "            if version != self._committed[partition]:",
                "            if False:",
            ),
        ),
        "tests/sinks/test_delta.py::test_the_second_of_two_writers_of_a_partition_is_fenced",
    ),
    "overtaken": Mechanism(
        "2",
        "a commit that another has overtaken is given up where that one has rows of the same partition",
        (
            (
                "connectors/sinks/delta_log.py",
                "            if before != {app: self.offsets.get(app) for app in offsets}:\n",
                "            if False:\n",
            ),
        ),
        "tests/sinks/test_delta_log.py::test_rows_of_ours_that_came_in_between_are_not_written_again",
        "local",
    ),
    "own-commit": Mechanism(
        "2",
        "a commit that was sent again after its answer was lost is known by its mark",
        (
            (
                "connectors/sinks/delta_log.py",
                "            if entry is not None and mark.encode() in entry:\n",
                "            if False:\n",
            ),
        ),
        "tests/sinks/test_delta_log.py::test_a_commit_that_is_there_although_it_was_refused_is_known_as_ours",
        "local",
    ),
    "trimmed-log": Mechanism(
        "1",
        "a writer does not put a commit where one has been that was trimmed away",
        (
            (
                "connectors/sinks/delta_log.py",
                "        return not trimmed and self._store().find(_name(self.version)) is not None\n",
                "        return True\n",
            ),
        ),
        "tests/sinks/test_delta_log.py::test_a_writer_that_was_idle_while_the_log_was_trimmed_loses_nothing",
    ),
    "stale-snapshots": Mechanism(
        "2",
        "snapshots of an epoch that was never finished are deleted before a start",
        (("flows/recovery.py", 'db.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (resume,))', "pass"),),
        "tests/sinks/test_recovery.py::test_a_killed_flow_leaves_only_the_state_of_finished_epochs",
    ),
    "parquet-created-once": Mechanism(
        "2",
        "a file of a partition's rows is created once, under the name of the offset it begins at",
        (
            (
                "connectors/sinks/parquet_table.py",
                "        if not self._store.create(name, file) and self._footer(name).get(_WRITE) != write:",
                "        if not self._store.create(name + uuid4().hex + '.parquet', file):",
            ),
        ),
        "tests/sinks/test_parquet.py::test_the_second_of_two_writers_of_a_partition_is_fenced",
    ),
    "parquet-footer": Mechanism(
        "2",
        "a restart skips what the footers of the files say is there",
        (
            (
                "connectors/sinks/parquet_table.py",
                "        return 0 if newest is None else",
                "        return 0 if True else",
            ),
        ),
        "tests/sinks/test_parquet.py::test_a_restart_skips_what_the_files_have_date_by_date",
    ),
    "document-id": Mechanism(
        "2",
        "a document's `_id` is the event's id",
        (
            (
                "connectors/sinks/elasticsearch/endpoint.py",
                "            made.column(EVENT_ID).combine_chunks(),\n",
                "            pc.binary_join_element_wise(made.column(EVENT_ID).combine_chunks(), str(id(rows)), '-'),\n",
            ),
        ),
        "tests/sinks/test_elasticsearch.py::test_what_is_sent_again_is_there_once",
        slow=True,
    ),
    "idempotency-key": Mechanism(
        "2",
        "a request that repeats its key is left out",
        (("connectors/dedupe.py", "        repeat = offset > first_offset\n", "        repeat = False\n"),),
        "tests/flows/test_dataflow.py::test_a_repeat_of_a_keyed_request_leaves_one_copy_across_a_restart",
    ),
    "keys-are-recalled": Mechanism(
        "2",
        "a restart reads again which keys there were",
        (("connectors/cursor.py", "        dedupe.remember(self._recalled[1])\n", ""),),
        "tests/flows/test_dataflow.py::test_a_repeat_of_a_keyed_request_leaves_one_copy_across_a_restart",
    ),
    "repeat-follows-original": Mechanism(
        "2",
        "a repeat goes to the partition of its original",
        (
            (
                "connectors/log/placement.py",
                "    return zlib.crc32(request_id.encode()) % partitions\n",
                "    import time\n    return time.time_ns() // 1000 % partitions\n",
            ),
        ),
        "tests/log/test_contract.py::test_a_repeat_of_a_keyed_request_follows_its_original",
        "embedded",
    ),
    "whole-rows": Mechanism(
        "1",
        "a part of a batch is made whole before DuckDB sees it, which refuses a view of objects in objects",
        (("connectors/views.py", "        if pa.types.is_nested(field.type) and any", "        if False and any"),),
        "tests/sinks/test_views.py",
    ),
    "letters-once": Mechanism(
        "2",
        "what is refused again after a crash is one dead letter",
        (
            (
                "connectors/sinks/refusals.py",
                'origin=f"/{self._destination}/{stream}"',
                'origin=f"/{self._destination}/{stream}/{id(self)}"',
            ),
        ),
        "tests/sinks/test_push.py::test_what_is_refused_again_after_a_restart_is_one_dead_letter",
    ),
    "replay-looks": Mechanism(
        "2",
        "a replay leaves out the events that the table has",
        (
            (
                "flows/replay/missing.py",
                "            rows = rows.filter(pc.invert(there.has(rows)))\n",
                "            pass\n",
            ),
        ),
        "tests/replay/test_kills.py::test_beside_a_dataflow_that_brings_events_to_the_same_table_each_is_there_once",
        slow=True,
    ),
    "span-goes-on": Mechanism(
        "2",
        "a rebuild reads on where its part of the log ended, however much more was read at once",
        (("connectors/log/span.py", "        if block.next_offset > end:\n", "        if False:\n"),),
        "tests/log/test_span.py::test_a_part_that_is_extended_goes_on_where_it_ended_although_the_log_had_more",
    ),
    "replay-looks-into-snowflake": Mechanism(
        "2",
        "a replay leaves out the events that the table in Snowflake has",
        (
            (
                "flows/replay/tables.py",
                "            if not self._snowflake.has_table(table):\n",
                "            if True:\n",
            ),
        ),
        "tests/snowflake/test_replay.py::test_the_table_gets_what_it_lacks_and_nothing_twice",
    ),
    "replay-is-noted": Mechanism(
        "2",
        "a replay of dead letters notes what it is about to append, and the next command looks for it in the log",
        (("headrace/dlq/journal.py", "        opened = log()\n", "        return None\n        opened = log()\n"),),
        "tests/dlq/test_commands.py::test_what_was_appended_is_known_to_the_next_command_whatever_it_is",
    ),
    "letter-makes-the-id": Mechanism(
        "2",
        "a dead letter is sent again under an id that it alone determines",
        (("connectors/record.py", '    return _hashed("replay', '    return new_request_id() or _hashed("replay'),),
        "tests/dlq/test_replay.py::test_what_a_strict_schema_refused_lands_once_the_schema_may_grow",
    ),
    "to-whom-it-was-refused": Mechanism(
        "2",
        "what one destination had refused is sent again to that one alone",
        (("headrace/dlq/event.py", "destination, origin)", "None, origin)"),),
        "tests/dlq/test_replay.py::"
        "test_what_a_server_refused_goes_to_that_server_alone_and_fails_again_into_the_letters",
    ),
    "past-the-windows": Mechanism(
        "2",
        "what has passed its windows and is sent again is not counted in them again",
        (
            (
                "flows/stateful/pipeline.py",
                "        if lines.to is not None:\n            return self._again(lines)\n",
                "",
            ),
        ),
        "tests/dlq/test_memory.py::test_what_a_destination_refused_is_not_counted_again",
    ),
    "window-state": Mechanism(
        "2",
        "a window takes its state up after a crash",
        (("flows/stateful/window.py", '        self._history.restore(under("history/", pieces))\n', ""),),
        "tests/stateful/test_window.py::test_what_was_released_before_a_crash_still_counts_for_what_comes_after_it",
    ),
    "round-is-one-commit": Mechanism(
        "2",
        "a stream's positions, state and rows are one commit",
        (
            (
                "flows/stateful/store.py",
                '                self._db.execute("ROLLBACK")\n            raise\n',
                '                self._db.execute("COMMIT")\n            raise\n',
            ),
        ),
        "tests/stateful/test_store.py::test_a_round_that_fails_leaves_nothing",
    ),
    "store-made-whole": Mechanism(
        "2",
        "a store of the engine's that was half made when its process was killed stops no start",
        (("flows/recovery.py", 'directory.with_name(f"{directory.name}.making")', "directory"),),
        "tests/sinks/test_recovery.py::test_a_store_that_was_half_made_when_the_process_was_killed_is_made_anew",
    ),
    "first-memory": Mechanism(
        "2",
        "a stream that gets its first window after a crash is not handed what its tables have",
        (
            (
                "connectors/sinks/tables.py",
                "fresh(part.table, table.committed)",
                "fresh(part.table, lambda partition: 0)",
            ),
        ),
        "tests/stateful/test_overlap.py::test_a_first_window_after_a_kill_neither_doubles_nor_loses",
        "1-lake",
    ),
    "first-memory-files": Mechanism(
        "2",
        "nor what its Parquet files have, date by date",
        (
            (
                "connectors/sinks/parquet_table.py",
                "fresh(of_date, partial(self._committed_part, directory))",
                "fresh(of_date, lambda partition: 0)",
            ),
        ),
        "tests/stateful/test_overlap.py::test_a_first_window_after_a_kill_neither_doubles_nor_loses",
        "1-files",
    ),
    "first-memory-letters": Mechanism(
        "2",
        "nor are its dead letters written again",
        (("flows/stateful/lane.py", "letters := self._overlap.fresh(aside)", "letters := aside"),),
        "tests/stateful/test_overlap.py::test_a_first_window_after_a_kill_neither_doubles_nor_loses",
        "1-lake",
    ),
    "first-memory-is-over": Mechanism(
        "1",
        "a stream whose tables were not asked yet goes on in its lane though its memory is gone",
        (("flows/stateful/store.py", "return not self.overlap or (", "return True or ("),),
        "tests/stateful/test_overlap.py::test_a_memory_that_is_gone_before_a_table_could_be_asked_loses_nothing",
    ),
    "conditional-put": Mechanism(
        "3",
        "a store must refuse to create one object twice",
        (
            (
                "connectors/sinks/delta.py",
                "                prove_conditional_put(self._settings)\n",
                "                pass\n",
            ),
        ),
        "tests/sinks/test_store.py::test_a_store_that_ignores_conditional_puts_is_refused_before_anything_is_written",
    ),
    "nobody-waits": Mechanism(
        "4",
        "what a destination has no room for is refused, not waited for",
        (
            (
                "connectors/sinks/delivery.py",
                "            if outcome.start is None:\n                self._news",
                "            if True:\n                self._news",
            ),
        ),
        "tests/sinks/test_delivery.py::test_what_there_is_no_room_for_is_refused_and_wanted_later",
    ),
    "others-go-on": Mechanism(
        "4",
        "reading goes on without a destination that is short of room",
        (("connectors/sinks/base.py", "room[one.name] or one.without_room_for() > _PATIENCE", "room[one.name]"),),
        "tests/sinks/test_delivery.py::test_one_that_is_short_of_room_is_waited_for_only_a_while",
    ),
    "bounded-inbox": Mechanism(
        "4",
        "what waits for a destination is bounded",
        (
            ("connectors/sinks/delivery.py", "(not self._held or self._held + item.size <= self._capacity)", "True"),
            ("connectors/sinks/delivery.py", "(waiting < self._capacity // 2 or waiting <= 0)", "True"),
        ),
        "tests/flows/test_isolation.py::test_what_one_holds_is_bounded_however_long_it_does_not_answer",
        slow=True,
    ),
    "one-request-a-lane": Mechanism(
        "5",
        "the rows of a partition and stream are sent one request after the other",
        (
            (
                "connectors/sinks/lane.py",
                "        if self.busy or (self._sending is None",
                "        if (self._sending is None",
            ),
        ),
        "tests/sinks/test_push.py::test_partitions_are_sent_side_by_side_and_each_one_request_after_the_other",
    ),
    "log-order": Mechanism(
        "5",
        "records of a partition are read in the order they were appended",
        (
            (
                "connectors/log/embedded/reader.py",
                "position < ? ORDER BY position",
                "position < ? ORDER BY position DESC",
            ),
        ),
        "tests/log/test_contract.py::test_records_of_a_partition_come_in_the_order_they_were_appended",
        "embedded",
    ),
    "keys-are-forgotten": Mechanism(
        "6",
        "keys are remembered for one window, and so many",
        (("connectors/dedupe.py", "            self._forget(received_at)\n", ""),),
        "tests/sinks/test_dedupe.py::test_the_memory_is_of_the_window_alone",
    ),
    "log-followed": Mechanism(
        "6",
        "a commit reads what has come to a table's log since the last one, and not the table",
        (
            (
                "connectors/sinks/delta_table.py",
                "        if table is not None and not table.advance():\n",
                "        if table is not None:\n",
            ),
        ),
        "tests/sinks/test_delta_log.py::test_a_commit_reads_what_has_come_since_the_last_one_and_not_the_table",
    ),
    "checkpoints": Mechanism(
        "6",
        "a table has a checkpoint every so many commits, so what a reader reads beside it does not grow",
        (
            (
                "connectors/sinks/delta_table.py",
                "        if self._until_checkpoint <= 0:\n            self._checkpoint()\n",
                "",
            ),
        ),
        "tests/sinks/test_delta.py::test_old_log_entries_do_not_slow_a_commit_down",
    ),
    "checkpoints-by-files": Mechanism(
        "6",
        "a table's checkpoints are the further apart the more files they have to list",
        (
            (
                "connectors/sinks/delta_table.py",
                "max(_CHECKPOINT_INTERVAL, len(handle.file_uris()) // _FILES_A_COMMIT)",
                "_CHECKPOINT_INTERVAL",
            ),
        ),
        "tests/sinks/test_delta_log.py::test_checkpoints_of_a_table_with_many_files_are_further_apart",
    ),
    "window-forgets": Mechanism(
        "6",
        "a window lets go of what no event can see any more",
        (("flows/stateful/window.py", "        self._history.drop(self._watermark.value - self._length)\n", ""),),
        "tests/stateful/test_window.py::test_what_is_kept_stays_near_the_events_of_the_window_however_long_it_runs",
    ),
    "mask-letters": Mechanism(
        "mask",
        "a line that cannot be read is not shown where a mask could not see it",
        (
            (
                "flows/letters.py",
                "                payload=stream not in self._masked,\n",
                "                payload=True,\n",
            ),
        ),
        "tests/flows/test_masking.py::test_a_line_that_is_no_event_is_not_shown_where_a_mask_could_not_see_it",
    ),
    "mask-rescued": Mechanism(
        "mask",
        "what is rescued is masked as what has a column",
        (
            (
                "flows/steps/mask/compiling.py",
                '        items.append(f"{masking.rescued(found_in)} AS {column(EXTRA)}")\n',
                "        items.append(column(EXTRA))\n",
            ),
        ),
        "tests/flows/test_masking.py::test_a_value_that_is_not_of_its_declared_type_is_masked_where_it_is_rescued",
    ),
    "mask-below": Mechanism(
        "mask",
        "a mask reaches all that is below its path, lists and objects of changing shapes included",
        (
            (
                "flows/steps/mask/compiling.py",
                '        if text == "JSON":\n',
                '        if text == "JSON":\n            return sql, text\n        if text == "JSON":\n',
            ),
        ),
        "tests/steps/test_mask.py::test_a_path_reaches_its_value_through_lists_json_and_what_is_rescued",
    ),
    "sample-by-key": Mechanism(
        "sample",
        "a key is kept or dropped whole, by its hash",
        (
            (
                "flows/steps/sample.py",
                "sha256({drawn})",
                "sha256(CAST(random() AS VARCHAR))",
            ),
        ),
        "tests/steps/test_sample.py::test_a_key_is_kept_whole_or_not_at_all",
    ),
    "window-watermark": Mechanism(
        "window",
        "an event waits until the watermark has passed it",
        (
            (
                "flows/stateful/watermark.py",
                "            self.value = max(int(met[-1]), self.newest - self.lateness)\n",
                "            self.value = max(int(met[-1]), self.newest + 1)\n",
            ),
        ),
        "tests/stateful/test_window.py::test_it_is_what_sql_says_of_the_events_on_time",
    ),
    "window-both-ends": Mechanism(
        "window",
        "both ends of a window belong to it",
        (
            (
                "flows/stateful/window.py",
                "        self._length = microseconds(step.length)\n",
                "        self._length = microseconds(step.length) - 1\n",
            ),
        ),
        "tests/stateful/test_window.py::test_both_ends_of_the_window_belong_to_it",
    ),
    "bounds": Mechanism(
        "bounds",
        "an event over which a pipeline takes too much is found and set aside",
        (
            (
                "flows/watchdog.py",
                "                    if time.clock_gettime(task.clock) - task.began > bounds.seconds:\n",
                "                    if False:\n",
            ),
        ),
        "tests/flows/test_bounds.py::test_what_is_known_of_an_event_holds_for_a_destination_that_was_away",
        slow=True,  # it waits for the end of what has none
    ),
    "bounds-behind-windows": Mechanism(
        "bounds",
        "events that a window lets go are refused for themselves, not those that came meanwhile",
        (("flows/stateful/pipeline.py", "            if self._bounded is None:\n", "            if True:\n"),),
        "tests/flows/test_bounds.py::test_what_a_window_lets_go_is_an_event_of_its_own",
        slow=True,
    ),
    "bounds-of-a-file": Mechanism(
        "bounds",
        "an expression that takes too much whatever the event is an error of the configuration",
        (("flows/config/load.py", "        check_costs(grammar, report)\n", "        pass\n"),),
        "tests/config/test_config_costs.py::test_every_command_that_reads_the_file_ends_with_it",
    ),
    "bounds-of-trials": Mechanism(
        "bounds",
        "a command that tries a pipeline ends where that takes too much, and says at which step",
        (
            (
                "flows/bounds/__init__.py",
                "    with _watchdog.over(Bounds.from_environment(), end):\n",
                "    with _watchdog.over(Bounds(1e9, 1e9), end):\n",
            ),
        ),
        "tests/flows/test_bounds.py::test_a_trial_ends_with_the_reason",
    ),
}
