//! The table: what becomes of each event in each role. What an event says of the node itself is
//! taken note of first; then it is the role's, or nobody's.

use super::admission;
use super::gate::{self, Vouched};
use super::role::Role;
use crate::words::ConnId;
use crate::zab::cx::{Cx, Next};
use crate::zab::error::{CloseReason, HaltReason, PeerFault};
use crate::zab::event::{Action, Event};
use crate::zab::message::{FollowerInfo, Message, Stance, Vote};
use crate::zab::note::Note;

impl Role {
    /// Decides by role and event.
    pub(super) fn on_event(&mut self, cx: &mut Cx<'_>, event: Event) -> Next {
        match event {
            Event::Tick => self.on_tick(cx),
            Event::Notified(vote) => self.on_vote(cx, vote),
            Event::Accepted(conn) => {
                cx.s.strangers.insert(conn, cx.now.at);
                Next::Stay
            }
            Event::Connected { conn, to } => {
                match self {
                    Self::Looking(looking) => looking.on_connected(cx, conn, to),
                    Self::Following(following) => following.on_connected(cx, conn, to),
                    Self::Claiming(_) | Self::Reigning(_) | Self::Halted => {
                        cx.close(conn, CloseReason::RoleChange);
                    }
                }
                Next::Stay
            }
            Event::ConnectFailed(to) => {
                match self {
                    Self::Following(following) => following.on_connect_failed(cx, to),
                    Self::Looking(_) | Self::Claiming(_) | Self::Reigning(_) | Self::Halted => {}
                }
                Next::Stay
            }
            Event::ConnectRefused(to) => match self {
                Self::Following(following) => following.on_refused(cx, to),
                Self::Looking(_) | Self::Claiming(_) | Self::Reigning(_) | Self::Halted => {
                    Next::Stay
                }
            },
            Event::Denied(by) => {
                match self {
                    Self::Looking(looking) => looking.on_denied(cx, by),
                    Self::Following(_) | Self::Claiming(_) | Self::Reigning(_) | Self::Halted => {}
                }
                Next::Stay
            }
            Event::Received { conn, msg } => self.on_received(cx, conn, msg),
            Event::Heard(conn) => {
                match self {
                    Self::Following(following) => following.on_heard(cx, conn),
                    Self::Claiming(claiming) => claiming.on_heard(cx, conn),
                    Self::Reigning(reigning) => reigning.on_heard(cx, conn),
                    Self::Looking(_) | Self::Halted => {}
                }
                Next::Stay
            }
            Event::Closed(conn) => self.on_closed(cx, conn),
            Event::Persisted(upto) => {
                cx.completed(upto);
                match self {
                    Self::Looking(looking) => looking.on_persisted(cx),
                    Self::Following(following) => {
                        following.on_duties(cx);
                        Next::Stay
                    }
                    Self::Claiming(claiming) => claiming.on_duties(cx),
                    Self::Reigning(reigning) => reigning.on_duties(cx),
                    Self::Halted => Next::Stay,
                }
            }
            Event::Checkpointed(upto) => {
                cx.checkpointed(upto, self.pin());
                self.state_store_gets_on(cx)
            }
            Event::SpaceShort(short) => {
                cx.s.disk_short = short;
                Next::Stay
            }
            Event::StateProgress(bytes) => {
                cx.s.compaction.wrote(bytes, cx.now.at);
                self.state_store_gets_on(cx)
            }
            Event::Staged { stage, parts } => {
                match self {
                    Self::Following(following) => following.on_staged(cx, stage, parts),
                    Self::Looking(_) | Self::Claiming(_) | Self::Reigning(_) | Self::Halted => {
                        cx.parked_staged(stage, parts);
                    }
                }
                Next::Stay
            }
            Event::Sealed(stage) => {
                match self {
                    Self::Following(following) => following.on_sealed(cx, stage),
                    Self::Looking(_) | Self::Claiming(_) | Self::Reigning(_) | Self::Halted => {
                        cx.parked_sealed(stage);
                    }
                }
                Next::Stay
            }
            Event::SnapshotVerified { stage, good } => match self {
                Self::Following(following) => following.on_verified(cx, stage, good),
                Self::Looking(_) | Self::Claiming(_) | Self::Reigning(_) | Self::Halted => {
                    cx.parked_verified(stage, good);
                    Next::Stay
                }
            },
            Event::LogRead { conn, from, entries } => {
                match self {
                    Self::Reigning(reigning) => reigning.on_log_read(cx, conn, from, entries),
                    Self::Looking(_) | Self::Following(_) | Self::Claiming(_) | Self::Halted => {}
                }
                Next::Stay
            }
            Event::SnapshotOpened { conn, digest, bytes } => {
                match self {
                    Self::Reigning(reigning) => {
                        reigning.on_snapshot_opened(cx, conn, digest, bytes)
                    }
                    Self::Looking(_) | Self::Following(_) | Self::Claiming(_) | Self::Halted => {}
                }
                Next::Stay
            }
            Event::SnapshotRead { conn, items, last } => {
                match self {
                    Self::Reigning(reigning) => reigning.on_snapshot_read(cx, conn, &items, last),
                    Self::Looking(_) | Self::Following(_) | Self::Claiming(_) | Self::Halted => {}
                }
                Next::Stay
            }
            Event::StorageFailed => {
                planted!(cx, IgnoreStorageFailure, Next::Halt(HaltReason::Storage) => Next::Stay)
            }
            Event::Submit(submissions) => {
                admission::submit(cx, submissions, self.is_idle(cx));
                self.serve(cx)
            }
            Event::Read(reads) => {
                admission::read(cx, reads, self.is_idle(cx));
                self.serve(cx)
            }
            Event::Await(reads) => {
                admission::wait(cx, reads);
                Next::Stay
            }
            Event::Forget(tickets) => {
                cx.s.requests.forget(&tickets);
                Next::Stay
            }
        }
    }

    fn on_tick(&mut self, cx: &mut Cx<'_>) -> Next {
        if cx.s.choked_at().is_some_and(|at| at <= cx.now.at) {
            return Next::Halt(HaltReason::StateStoreStalled);
        }
        cx.s.requests.expire(cx.now.at, cx.s.serving, cx.out);
        cx.drop_old_parked();
        cx.settle();
        gate::close_mute(cx);
        match self {
            Self::Looking(looking) => looking.on_tick(cx),
            Self::Following(following) => following.on_tick(cx),
            Self::Claiming(claiming) => claiming.on_tick(cx),
            Self::Reigning(reigning) => reigning.on_tick(cx),
            Self::Halted => Next::Stay,
        }
    }

    fn on_vote(&mut self, cx: &mut Cx<'_>, vote: Vote) -> Next {
        let Some(Vouched { old, worth }) = gate::vouch(cx, &vote) else {
            return Next::Stay;
        };
        let next = match self {
            Self::Looking(_) if old => return Next::Stay,
            Self::Looking(looking) => return looking.on_vote(cx, vote, worth),
            _ if vote.stance != Stance::Looking => return Next::Stay,
            Self::Claiming(claiming) if worth.counts() => claiming.on_looking(cx, &vote),
            Self::Reigning(reigning) if worth.counts() => reigning.on_looking(cx, &vote),
            Self::Following(_) | Self::Claiming(_) | Self::Reigning(_) | Self::Halted => Next::Stay,
        };
        if next == Next::Stay && cx.may_answer(vote.from) {
            self.answer(cx, &vote);
        }
        next
    }

    /// Tells a voter that looks for a leader whom this node has.
    fn answer(&self, cx: &mut Cx<'_>, vote: &Vote) {
        let (to, asked) = (vote.from, vote.stamp.asks);
        let vote = match self {
            Self::Following(following) => following.ballot(cx, to, asked),
            Self::Claiming(claiming) => claiming.ballot(cx, to, asked),
            Self::Reigning(reigning) => reigning.ballot(cx, to, asked),
            Self::Looking(_) | Self::Halted => return,
        };
        cx.out.push(Action::Notify { to, vote });
    }

    fn on_received(&mut self, cx: &mut Cx<'_>, conn: ConnId, msg: Message) -> Next {
        if cx.s.strangers.remove(&conn).is_some() {
            let Message::FollowerInfo(info) = msg else {
                gate::expel(cx, conn, PeerFault::Unexpected("a message before FOLLOWER-INFO"));
                return Next::Stay;
            };
            return self.on_follower_info(cx, conn, info);
        }
        if !self.holds(conn) {
            cx.note(Note::StaleConn(conn));
            return Next::Stay;
        }
        match self {
            Self::Looking(looking) if looking.asks(conn) => looking.on_answer(cx, conn, msg),
            Self::Looking(looking) => {
                looking.early.remove(&conn);
                gate::expel(cx, conn, PeerFault::Unexpected("a message before LEADER-INFO"));
                Next::Stay
            }
            Self::Following(following) => following.on_message(cx, msg),
            Self::Claiming(claiming) => claiming.on_message(cx, conn, msg),
            Self::Reigning(reigning) => reigning.on_message(cx, conn, msg),
            Self::Halted => Next::Stay,
        }
    }

    fn on_follower_info(&mut self, cx: &mut Cx<'_>, conn: ConnId, info: FollowerInfo) -> Next {
        if !gate::lets_in(cx, conn, &info) {
            return Next::Stay;
        }
        match self {
            Self::Looking(looking) => {
                looking.on_follower_info(cx, conn, info);
                Next::Stay
            }
            Self::Claiming(claiming) => claiming.on_follower_info(cx, conn, info),
            Self::Reigning(reigning) => reigning.on_follower_info(cx, conn, info),
            Self::Following(_) | Self::Halted => {
                cx.close(conn, CloseReason::NotLeading);
                Next::Stay
            }
        }
    }

    fn on_closed(&mut self, cx: &mut Cx<'_>, conn: ConnId) -> Next {
        if cx.s.strangers.remove(&conn).is_some() {
            return Next::Stay;
        }
        match self {
            Self::Looking(looking) => looking.on_closed(conn),
            Self::Following(following) => return following.on_closed(cx, conn),
            Self::Claiming(claiming) => claiming.on_closed(cx, conn),
            Self::Reigning(reigning) => reigning.on_closed(cx, conn),
            Self::Halted => {}
        }
        Next::Stay
    }

    fn state_store_gets_on(&mut self, cx: &mut Cx<'_>) -> Next {
        match self {
            Self::Following(following) => following.gets_on(cx),
            Self::Looking(_) | Self::Claiming(_) | Self::Reigning(_) | Self::Halted => {}
        }
        Next::Stay
    }

    /// True if clients of this node need not wait: it takes no part until its disk is back.
    fn is_idle(&self, cx: &Cx<'_>) -> bool {
        matches!(self, Self::Looking(_)) && cx.s.disk_hangs(cx.now.at)
    }

    /// Passes on writes that waited for their turn, as far as there is room by now.
    pub(super) fn pass_writes(&mut self, cx: &mut Cx<'_>) -> Next {
        match self {
            Self::Following(following) => {
                following.pass_writes(cx);
                Next::Stay
            }
            Self::Reigning(reigning) => reigning.propose_what_fits(cx),
            Self::Looking(_) | Self::Claiming(_) | Self::Halted => Next::Stay,
        }
    }

    /// Passes what clients wait for to whom it concerns now, if there is anybody.
    fn serve(&mut self, cx: &mut Cx<'_>) -> Next {
        match self {
            Self::Following(following) => {
                following.pass_on(cx);
                Next::Stay
            }
            Self::Reigning(reigning) => reigning.serve(cx),
            Self::Looking(_) | Self::Claiming(_) | Self::Halted => Next::Stay,
        }
    }
}
