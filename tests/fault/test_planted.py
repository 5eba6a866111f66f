"""Every planted fault is noticed by the test that is there for it (tests/support/planted.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.planted import PLANTED, VARIABLE

ROOT = Path(__file__).resolve().parents[2]
STORE = "tests/unit/datanode/store"
NODE = "tests/unit/datanode"
NETWORK = "tests/unit/ambry/network"
SEEN_BY = {
    "acknowledge_before_sync": (NODE, "test_committer.py", "test_nothing_acknowledged_is_lost_wherever_the_power_goes"),
    "retry_a_failed_sync": (NODE, "test_committer.py", "test_a_failed_write_or_sync_fences_for_good"),
    "go_on_after_a_failed_write": (NODE, "test_committer.py", "test_a_failed_write_or_sync_fences_for_good"),
    "skip_the_directory_sync": (STORE, "test_segment_file.py", "test_a_created_segment_is_whole_and_durable"),
    "compact_without_sync": (STORE, "test_sweep.py", ""),
    "delete_before_the_checkpoint": (STORE, "test_sweep.py", ""),
    "trust_an_index_entry": (STORE, "test_index.py", "test_a_rotten_entry_is_never_an_answer"),
    "skip_the_id_check": (STORE, "test_record_reader.py", "test_a_right_checksum_on_the_wrong_record_is_caught"),
    "skip_the_block_check": (STORE, "test_record_reader.py", "test_no_flipped_bit_of_a_record_is_ever_served"),
    "ignore_what_is_not_known": (STORE, "test_later_release.py", "test_it_is_never_served"),
    "drop_tombstones_early": (
        STORE,
        "compaction/test_compaction_plan.py",
        "test_a_tombstone_goes_when_it_is_old_and_everybody_has_seen_it",
    ),
    "drop_bytes_early": (STORE, "compaction/test_compaction_plan.py", "test_bytes_die_after_their_retention"),
    "switch_without_looking_again": (
        STORE,
        "compaction/test_compaction_switch.py",
        "test_a_blob_that_came_back_to_life_stops_it",
    ),
    "believe_the_page_cache": (
        STORE,
        "opening/test_opening_steps.py",
        "test_what_a_failed_sync_lost_is_not_believed_because_the_page_cache_shows_it",
    ),
    "give_lsns_again": (
        STORE,
        "opening/test_opening_steps.py",
        "test_a_clean_stop_after_an_unclean_one_does_not_bring_lsns_back",
    ),
    "answer_not_found_when_empty": (
        NODE,
        "replication/test_replicator.py",
        "test_a_replica_serves_once_it_has_caught_up_with_all_its_siblings",
    ),
    "follow_another_log_with_the_old_token": (NODE, "replication/test_cursor.py", "test_another_log_starts_over"),
    "move_the_token_past_a_bad_record": (
        NODE,
        "replication/test_cursor.py",
        "test_the_durable_token_never_passes_a_blob_that_is_not_here",
    ),
    "lose_the_ttl_of_deleted_blobs": (
        STORE,
        "test_blob_store.py",
        "test_records_join_into_the_state_whatever_their_order",
    ),
    "close_a_descriptor_with_unsynced_bytes": (
        STORE,
        "test_bounded_files_in_use.py",
        "test_unsynced_bytes_keep_the_descriptor",
    ),
    "trust_any_clock": (
        NODE,
        "upkeep/test_clocks.py",
        "test_a_compaction_on_a_wrong_clock_drops_no_living_blob",
    ),
    "sweep_chunks_of_any_age": (
        NODE,
        "upkeep/test_sweeper.py",
        "test_the_clock_of_a_frontend_says_nothing_about_the_age_of_its_chunks",
    ),
    "pass_over_what_may_have_expired": (
        NODE,
        "upkeep/test_clocks.py",
        "test_blobs_that_a_wrong_clock_takes_for_expired_are_here_when_it_is_right_again",
    ),
    "date_changes_where_they_arrive": (NODE, "upkeep/test_clocks.py", "test_replicas_agree_when_a_blob_was_deleted"),
    "go_by_the_own_clock": (
        "tests/unit/ambry/clustermap",
        "test_clustermap_skew.py",
        "test_the_time_is_ours_while_it_agrees_and_that_of_most_else",
    ),
    "take_uploads_of_any_length": (
        "tests/unit/frontend/router",
        "test_router_put.py",
        "test_an_upload_that_takes_longer_than_chunks_are_kept_is_refused",
    ),
    "take_a_shortage_for_a_failed_disk": (
        NODE,
        "test_shortages.py",
        "test_a_job_that_lacks_something_anywhere_condemns_nothing_and_is_done_later",
    ),
    "answer_not_found_while_opening": (NODE, "test_server.py", "test_ports_first_and_replicas_as_they_come"),
    "walk_through_the_index_on_the_event_loop": (
        NODE,
        "upkeep/test_sweeper.py",
        "test_a_sweep_walks_through_the_index_on_a_disk_thread",
    ),
    "believe_a_directory": (
        NODE,
        "replication/test_recovery.py",
        "test_a_replica_put_back_is_recognised_before_it_says_not_found",
    ),
    "say_not_found_before_peers_were_asked": (
        NODE,
        "replication/test_recovery.py",
        "test_a_restarted_replica_says_not_found_only_after_its_peers_were_asked",
    ),
    "tell_a_log_that_was_put_back": (
        NODE,
        "replication/test_recovery.py",
        "test_a_replica_put_back_from_before_what_is_forgotten_is_rebuilt",
    ),
    "forget_what_was_purged": (
        NODE,
        "replication/test_recovery.py",
        "test_a_replica_put_back_from_before_what_is_forgotten_is_rebuilt",
    ),
    "count_on_tokens_that_are_not_durable": (
        NODE,
        "replication/test_recovery.py",
        "test_tombstones_wait_until_a_peer_cannot_come_back_with_an_older_token",
    ),
    "delete_what_others_cover": (
        STORE,
        "opening/test_inventory.py",
        "test_two_of_our_own_that_no_compaction_explains_cost_neither",
    ),
    "take_in_foreign_segments": (
        STORE,
        "opening/test_inventory.py",
        "test_a_segment_that_is_not_of_this_log_is_set_aside",
    ),
    "join_segments_across_a_hole": (
        STORE,
        "compaction/test_compaction_holes.py",
        "test_a_hole_outlasts_every_compaction_and_the_loss_of_the_index",
    ),
    "believe_a_clean_stop_of_long_ago": (
        STORE,
        "opening/test_index_of_a_failing_disk.py",
        "test_a_clean_stop_of_before_says_nothing_of_what_came_since",
    ),
    "rebuild_an_index_from_what_is_left": (
        STORE,
        "opening/test_own_index.py",
        "test_no_crash_of_the_opening_makes_it_forgotten",
    ),
    "follow_on_while_put_back": (
        NODE,
        "replication/test_recovery_lost_tombstones.py",
        "test_a_crash_after_peers_were_heard_does_not_hide_what_was_missed",
    ),
    "append_while_closing": (NODE, "test_replicas.py", "test_what_is_appended_while_it_closes_is_refused"),
    "map_an_index_unread": (
        STORE,
        "test_index_file.py",
        "test_a_page_that_the_disk_cannot_read_is_an_error_and_not_the_end_of_the_process",
    ),
    "read_old_changes_on_the_event_loop": (
        NODE,
        "test_event_loop.py",
        "test_whatever_a_node_does_no_disk_is_waited_for_on_the_event_loop",
    ),
    "begin_what_nobody_waits_for": (
        NETWORK,
        "test_serving.py",
        "test_a_request_whose_caller_waits_no_more_is_not_begun",
    ),
    "write_what_nobody_waits_for": (NODE, "test_committer.py", "test_what_nobody_waits_for_any_more_is_not_written"),
    "forget_the_bytes_of_calls_whose_time_is_up": (
        NETWORK,
        "test_connection.py",
        "test_a_stopped_peer_holds_no_more_of_the_callers_memory_than_the_bound",
    ),
    "make_answers_that_nobody_reads": (
        NETWORK,
        "test_serving.py",
        "test_large_answers_are_made_when_there_is_room_for_them",
    ),
    "stay_with_a_silent_link": (
        NETWORK,
        "test_pool.py",
        "test_a_link_that_swallows_everything_is_given_up_and_whole_again_soon_after_it_heals",
    ),
    "end_the_connection_at_an_unknown_message": (
        NETWORK,
        "test_serving.py",
        "test_a_request_of_a_later_release_is_refused_and_harms_no_other",
    ),
    "let_one_partition_fill_an_answer": (
        NODE,
        "replication/test_feed.py",
        "test_a_partition_far_behind_leaves_room_for_the_others",
    ),
    "count_tombstones": (
        NODE,
        "replication/test_comparer.py",
        "test_tombstones_that_one_has_dropped_make_no_difference",
    ),
    "let_digests_drift": (
        STORE,
        "test_digests.py",
        "test_of_what_changes_the_old_goes_out_and_the_new_comes_in",
    ),
    "call_what_is_on_its_way_missing": (
        NODE,
        "replication/test_comparer.py",
        "test_while_it_is_not_there_yet_nothing_is_said",
    ),
    "keep_the_authority_that_digests_refute": (
        NODE,
        "replication/test_comparer.py",
        "test_a_replica_that_lacks_what_the_peer_cannot_give_has_no_authority_until_it_has_it",
    ),
    "bring_back_what_was_forgotten": (
        NODE,
        "replication/test_comparer.py",
        "test_a_blob_that_may_have_been_deleted_long_ago_comes_back_only_when_two_hold_it",
    ),
    "never_look_into_a_difference": (
        NODE,
        "replication/test_comparer.py",
        "test_what_went_into_a_log_that_was_put_back_is_found",
    ),
    "offer_whatever_stands_in_a_segment": (
        STORE,
        "test_copies.py",
        "test_what_was_deleted_is_offered_to_nobody_and_what_changed_as_it_is_now",
    ),
    "give_copies_of_what_was_put_back": (
        NODE,
        "replication/test_bootstrap_source.py",
        "test_a_replica_that_may_have_been_put_back_gives_nothing",
    ),
    "compact_what_is_being_copied": (
        NODE,
        "replication/test_bootstrap_source.py",
        "test_what_is_being_copied_is_not_compacted",
    ),
    "take_copies_unverified": (
        STORE,
        "test_images.py",
        "test_a_flipped_bit_anywhere_refuses_the_record_and_no_other",
    ),
    "copy_over_what_was_learned_meanwhile": (STORE, "test_images.py", "test_what_was_learned_meanwhile_is_joined"),
    "take_a_copy_for_everything": (
        NODE,
        "replication/test_bootstrap.py",
        "test_no_authority_comes_of_it_and_no_token_moves",
    ),
    "acknowledge_a_blob_whose_chunks_are_gone": (
        "tests/unit/frontend/router",
        "test_router_put.py",
        "test_an_upload_whose_chunks_were_given_up_meanwhile_is_refused_whatever_the_settings",
    ),
    "leave_half_open_sockets": (NETWORK, "test_tcp.py", "test_both_ends_find_out_that_the_other_is_gone"),
    "read_whatever_was_ever_compacted": (
        STORE,
        "compaction/test_compaction_receipt.py",
        "test_the_next_start_reads_only_what_replaced_something",
    ),
    "name_every_cursor_in_every_request": (
        NODE,
        "replication/test_subscriptions.py",
        "test_a_wake_up_names_and_touches_only_what_changed",
    ),
    "look_at_every_partition_at_every_wake_up": (
        NODE,
        "replication/test_subscriptions.py",
        "test_a_wake_up_names_and_touches_only_what_changed",
    ),
    "map_what_an_index_may_ever_need": (
        STORE,
        "test_index_file.py",
        "test_the_map_starts_small_and_grows_with_what_is_written",
    ),
    "call_a_silent_peer_up_to_date": (
        NODE,
        "replication/test_silence.py",
        "test_silence_grows_until_everybody_who_follows_a_peer_had_an_answer",
    ),
    "scrub_by_the_wall_clock": (
        NODE,
        "upkeep/test_scrubber.py",
        "test_a_clock_that_was_moved_neither_ends_the_scrub_nor_makes_it_due",
    ),
    "place_blobs_on_full_disks": (
        "tests/unit/frontend/router",
        "test_router_placement.py",
        "test_a_full_disk_is_avoided_before_it_refuses",
    ),
    "let_a_log_file_grow": (
        "tests/unit/ambry/service",
        "test_log_file.py",
        "test_a_log_grows_to_its_bound_and_the_latest_lines_are_kept",
    ),
    "keep_a_state_file_that_is_empty": (
        "tests/unit/deploy",
        "test_local_cluster.py",
        "test_a_state_file_that_a_power_cut_damaged_is_made_anew",
    ),
    "begin_housekeeping_at_once": (NODE, "test_parts.py", "test_background_work_begins_later_but_within_its_interval"),
    "give_up_blobs_that_may_be_there": (
        NODE,
        "replication/test_losses.py",
        "test_a_replica_that_cannot_be_asked_may_hold_it",
    ),
    "copy_again_what_no_copy_brings": (
        NODE,
        "replication/test_bootstrap.py",
        "test_what_no_copy_brings_is_followed",
    ),
    "take_no_notice_of_a_disk_that_hangs": (
        NODE,
        "upkeep/test_hangs.py",
        "test_puts_are_told_of_no_room_while_it_hangs",
    ),
    "take_tombstones_that_go_later_for_missed": (
        NODE,
        "replication/test_recovery.py",
        "test_a_replica_that_runs_for_longer_than_tombstones_stay_is_not_rebuilt",
    ),
    "move_records_with_the_salt_of_another_log": (
        STORE,
        "compaction/test_compaction_copy.py",
        "test_records_of_a_former_incarnation_are_readable_in_the_segment_that_replaces_theirs",
    ),
    "undelete_without_the_time_of_the_delete": (
        NODE,
        "replication/test_late_undelete.py",
        "test_one_replica_that_knows_of_no_delete_brings_nothing_back",
    ),
    "tell_of_a_failed_put_once": (
        NODE,
        "replication/test_failed_puts.py",
        "test_a_put_that_nobody_heard_to_have_failed_is_forgotten_once_one_can_hear_it",
    ),
    "believe_an_index_ahead_of_its_log": (
        STORE,
        "opening/test_shortfall.py",
        "test_what_came_between_copying_log_and_index_is_noticed",
    ),
    "sweep_chunks_while_somebody_is_away": (
        NODE,
        "upkeep/test_sweeper.py",
        "test_an_undelete_that_one_replica_alone_heard_of_finds_its_chunks",
    ),
    "undelete_what_is_not_here": (
        NODE,
        "replication/test_late_undelete.py",
        "test_what_an_undelete_in_the_last_minute_brings_back_has_its_bytes",
    ),
}
IN_HISTORIES = ("acknowledge_before_sync", "say_not_found_before_peers_were_asked")
"""Those that random histories see, too, in one of the first few."""
HISTORIES = "tests/fault/test_histories.py::test_long_histories_keep_every_promise"
TIMEOUT_S = 300
FAILED = 1
"""pytest's exit code for failed tests; an error of its own, or a test that is not there, is another."""


def _node_id(name: str) -> str:
    directory, file, test = SEEN_BY[name]
    return f"{directory}/{file}" + (f"::{test}" if test else "")


def test_every_planted_fault_has_a_test_that_sees_it() -> None:
    assert set(SEEN_BY) == set(PLANTED)
    documented = (ROOT / "docs" / "testing.md").read_text("utf-8")
    missing = [
        name for name, (_, _, test) in SEEN_BY.items() if f"`{name}`" not in documented or test not in documented
    ]
    assert not missing, "docs/testing.md has a table of them"


@pytest.mark.fault
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_noticed(name: str) -> None:
    _require_failure(name, _node_id(name))


@pytest.mark.fault
@pytest.mark.parametrize("name", IN_HISTORIES)
def test_random_histories_notice_a_planted_fault(name: str) -> None:
    _require_failure(name, HISTORIES)


def _require_failure(name: str, where: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.planted", "-p", "no:cacheprovider", "-q", "-x"]
    # Fewer rounds than a test has by itself may be too few to see it.
    environment = {key: value for key, value in os.environ.items() if key != "AMBRY_FAULT_ROUNDS"}
    done = subprocess.run(
        [*command, where],
        cwd=ROOT,
        env={**environment, VARIABLE: name},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == FAILED, f"{where} does not see {name}:\n{done.stdout[-3000:]}"
