//! What a client does with each frame of the server, one function for each.

use std::time::Duration;

use super::feed::{Feed, Push};
use super::{Action, Client, Note, Phase, RETRY_AFTER};
use crate::cli::load::wire::{
    Accepted, EpochTold, Event, Events, Goaway, Heads, Page, Refused, Resync, ServerFrame, Verdict,
    Welcome, WelcomeGroup,
};
use crate::model::id::GroupId;
use crate::model::position::{Epoch, Position, Seq};

impl Client {
    /// Takes a text frame.
    pub fn heard(&mut self, text: &str, now: Duration) {
        if !matches!(self.phase, Phase::Greeting { .. } | Phase::Live) {
            return;
        }
        self.heard_at = now;
        match ServerFrame::parse(text) {
            Ok(frame) => self.frame(frame, now),
            Err(error) => self.fault(format!("a frame that is none: {error}"), now),
        }
        self.tick(now);
    }

    fn frame(&mut self, frame: ServerFrame, now: Duration) {
        if matches!(self.phase, Phase::Greeting { .. }) && !frame.may_come_first() {
            self.note(Note::Fault("a frame before the welcome".to_owned()));
        }
        match frame {
            ServerFrame::Welcome(frame) => self.on_welcome(frame, now),
            ServerFrame::WelcomeMore(frame) => self.on_groups(frame.groups, now),
            ServerFrame::Accepted(frame) => self.on_accepted(&frame),
            ServerFrame::Stored(frame) => self.on_stored(frame.group, frame.pos),
            ServerFrame::Events(frame) => self.on_events(frame, now),
            ServerFrame::Page(frame) => self.on_page(frame, now),
            ServerFrame::Done(frame) => {
                self.reads.done(frame.id);
            }
            ServerFrame::Heads(frame) => self.on_heads(frame, now),
            ServerFrame::Epoch(frame) => self.on_epoch(frame, now),
            ServerFrame::Joined(frame) => self.on_joined(frame.group.id, frame.group.head, now),
            ServerFrame::Gone(frame) => self.on_gone(frame.group),
            ServerFrame::Resync(frame) => self.on_resync(&frame, now),
            ServerFrame::Error(frame) => self.on_error(&frame, now),
            ServerFrame::Goaway(frame) => self.on_goaway(&frame, now),
            ServerFrame::Other => {}
        }
    }

    fn on_welcome(&mut self, frame: Welcome, now: Duration) {
        let beat = frame
            .heartbeat_s
            .and_then(|beat| Duration::try_from_secs_f64(beat).ok());
        if let Some(beat) = beat.filter(|beat| !beat.is_zero()) {
            self.heartbeat = beat;
        }
        self.phase = Phase::Live;
        self.attempts = 0;
        self.welcomes += 1;
        if self.welcomes > 1 {
            self.note(Note::Reconnected);
        }
        self.on_groups(frame.groups, now);
    }

    fn on_groups(&mut self, groups: Vec<WelcomeGroup>, now: Duration) {
        for line in groups {
            if line.verdict == Verdict::Gone {
                self.on_gone(line.group);
                continue;
            }
            self.feeds
                .entry(line.group)
                .or_insert_with(|| Feed::from_head(line.head));
            self.told(line.group, &line.rows, now);
            let must_pull = line.pull || line.verdict == Verdict::Pull;
            if let Some(feed) = self.feeds.get_mut(&line.group) {
                feed.welcomed(line.head, must_pull, now);
            }
            self.on_stored(line.group, line.stored);
        }
    }

    /// Tells a group's feed, its reads and the outbox of later epochs, before anything else.
    fn told(&mut self, group: GroupId, rows: &[(Epoch, Seq)], now: Duration) {
        let Some(feed) = self.feeds.get_mut(&group).filter(|_| !rows.is_empty()) else {
            return;
        };
        let dropped = feed.told(rows, now);
        self.reads.clamp(group, |pos| feed.clamp(pos));
        self.outbox.epoch_told(group, feed);
        self.note(Note::EpochTold);
        if let Some(start) = dropped {
            self.note(Note::Dropped(group, start));
        }
        self.settle(group);
    }

    fn on_accepted(&mut self, frame: &Accepted) {
        let Some(group) = self.outbox.group_of(frame.id) else {
            return;
        };
        let feed = self.feeds.get(&group);
        if feed.is_some_and(|feed| feed.is_dead(frame.pos)) {
            return;
        }
        if let Some(k) = self
            .outbox
            .accepted(frame.id, frame.pos)
            .map(|entry| entry.k)
        {
            self.note(Note::Accepted(k));
        }
        self.settle(group);
    }

    fn on_stored(&mut self, group: GroupId, pos: Position) {
        if let Some(feed) = self.feeds.get_mut(&group) {
            feed.stored(pos);
        }
        self.settle(group);
    }

    fn settle(&mut self, group: GroupId) {
        let Some(feed) = self.feeds.get(&group) else {
            return;
        };
        for entry in self.outbox.settle(group, feed) {
            if let Some(pos) = entry.accepted {
                self.note(Note::Stored(entry.k, pos));
            }
        }
    }

    fn on_events(&mut self, frame: Events, now: Duration) {
        let group = frame.group;
        let Some(feed) = self.feeds.get_mut(&group) else {
            return self.fault(format!("events of {group}, which was not told"), now);
        };
        let mut applied = Vec::new();
        let pushes: Vec<_> = frame
            .events
            .into_iter()
            .map(|event| (event.pos, feed.push(event, now, &mut applied)))
            .collect();
        self.note_applied(group, applied);
        for (pos, push) in pushes {
            self.judge_push(group, pos, push, now);
        }
    }

    fn judge_push(&mut self, group: GroupId, pos: Position, push: Push, now: Duration) {
        match push {
            Push::InOrder => {}
            Push::Doubled => self.note(Note::Doubled(group, pos)),
            Push::OutOfOrder => self.note(Note::OutOfOrder(group, pos)),
            Push::AfterHole => self.note(Note::Hole),
            Push::Untold => self.fault(format!("{pos} of {group} before its epoch"), now),
        }
    }

    fn note_applied(&mut self, group: GroupId, applied: Vec<Event>) {
        for event in applied {
            self.note(Note::Applied(group, event));
        }
    }

    fn on_page(&mut self, frame: Page, now: Duration) {
        let Some(group) = self.pulls.remove(&frame.id) else {
            return;
        };
        let Some(feed) = self.feeds.get_mut(&group) else {
            return;
        };
        let mut applied = Vec::new();
        let told = feed.page(frame.events, frame.more, now, &mut applied);
        self.note_applied(group, applied);
        if !told {
            self.fault(format!("a page of {group} before its epoch"), now);
        }
    }

    fn on_heads(&mut self, frame: Heads, now: Duration) {
        for (group, head, _, _) in frame.heads {
            let feed = self.feeds.get_mut(&group);
            if feed.is_some_and(|feed| !feed.heard_head(head, now)) {
                return self.fault(format!("head {head} of {group} before its epoch"), now);
            }
        }
    }

    fn on_epoch(&mut self, frame: EpochTold, now: Duration) {
        for (group, rows) in frame.groups {
            self.told(group, &rows, now);
        }
    }

    fn on_joined(&mut self, group: GroupId, head: Position, now: Duration) {
        let feed = self
            .feeds
            .entry(group)
            .or_insert_with(|| Feed::from_head(head));
        feed.welcomed(head, false, now);
    }

    fn on_gone(&mut self, group: GroupId) {
        self.feeds.remove(&group);
        let entries = self.outbox.drop_group(group);
        self.note_refused(entries, "gone");
    }

    fn on_resync(&mut self, frame: &Resync, now: Duration) {
        self.note(Note::Resync);
        if let Some(feed) = self.feeds.get_mut(&frame.group) {
            feed.resync(frame.head, now);
        }
    }

    /// A refusal that may pass is tried again when the server says so, a refused hello too; any
    /// other ends what it answers.
    fn on_error(&mut self, frame: &Refused, now: Duration) {
        let pause = frame
            .retry_after_ms
            .map_or(RETRY_AFTER, Duration::from_millis);
        let passes = matches!(frame.code.as_str(), "busy" | "rate_limited" | "internal");
        let expired = matches!(frame.code.as_str(), "token_expired" | "unauthenticated");
        if expired {
            self.refuse_token(now);
        }
        if passes && matches!(self.phase, Phase::Greeting { .. }) {
            self.leave_at = frame.retry_after_ms.map(|_| now + pause);
        }
        let Some(id) = frame.id else { return };
        let retry = (passes || expired).then(|| now + pause);
        // A position that was lost is no event from then on, and cut off once its epoch is told.
        let read_again = (frame.code == "bad_request").then(|| now + pause);
        if let Some(group) = self.pulls.remove(&id) {
            // Whatever was wrong, the hole is still there.
            if let Some(feed) = self.feeds.get_mut(&group) {
                feed.pull_refused(now + pause);
            }
        } else if !self.reads.refused(id, retry.or(read_again)) {
            self.on_send_refused(id, retry, frame);
        }
    }

    fn on_send_refused(&mut self, id: u64, retry: Option<Duration>, frame: &Refused) {
        match retry {
            Some(at) => {
                self.outbox.postpone(id, at);
            }
            None => {
                let entry = self.outbox.refused(id);
                self.note_refused(entry, &format!("{}: {}", frame.code, frame.message));
            }
        }
    }

    fn on_goaway(&mut self, frame: &Goaway, now: Duration) {
        self.note(Note::Goaway);
        self.leave_at = Some(now + Duration::from_millis(frame.reconnect_after_ms));
    }

    /// The server broke the protocol: what it says cannot be trusted, a new socket may.
    fn fault(&mut self, what: String, now: Duration) {
        self.note(Note::Fault(what));
        if matches!(self.phase, Phase::Greeting { .. } | Phase::Live) {
            self.actions.push(Action::Close);
            self.socket_lost(now);
        }
    }
}
