//! A snapshot that is all here on its way to be the node's state: the application looks at it, the
//! state store makes it durable, and only then does the journal name it, by one record that waits
//! for nothing. Until that record is issued the old state stands, the journal is free for everything
//! else, and the snapshot can be given up, by this node or by a crash.

use super::receiving::Incoming;
use super::{Following, Phase};
use crate::error::PeerFault;
use crate::event::{Action, Upcall};
use crate::ids::NodeId;
use crate::mutants::Mutant;
use crate::note::Note;
use crate::replica::Obstacle;
use crate::state::{Cx, Next};
use crate::storage::Base;

/// How far a snapshot has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Step {
    /// Its parts arrive.
    Arriving,
    /// It is all here, and the application looks at it.
    Checking,
    /// It is good, and the state store makes it durable.
    Sealing,
    /// It is durable, and nothing names it.
    Sealed,
    /// The journal names it: too late to give it up.
    Recorded,
}

impl Incoming {
    /// The leader says that this is all of it.
    pub(super) fn end(&mut self, cx: &mut Cx<'_>) {
        self.ended = true;
        if self.step == Step::Arriving {
            self.step = Step::Checking;
            cx.out.call(Upcall::VerifyInstall(self.stage));
        }
        self.record(cx);
    }

    /// What the node does with it, for people.
    pub(super) fn obstacle(&self, leader: NodeId) -> Obstacle {
        let (bytes, whole) = (self.received, self.step != Step::Arriving);
        let total = whole.then_some(bytes);
        Obstacle::Installing { leader, bytes, total, sealing: whole }
    }

    fn is_at(&self, stage: u64, step: Step) -> bool {
        (self.stage, self.step) == (stage, step)
    }

    /// The application finds it good.
    fn verified(&mut self, cx: &mut Cx<'_>) {
        self.step = Step::Sealing;
        let (stage, at, digest) = (self.stage, self.head.at, self.head.digest);
        cx.out.push(Action::Seal { stage, at, digest });
        cx.note(Note::Sealing { at: at.txid, bytes: self.received });
        if cx.s.cfg.mutant(Mutant::InstallUnsealed) {
            self.step = Step::Sealed;
            self.record(cx);
        }
    }

    /// Has the journal name it, if it is durable and the leader waits for it.
    fn record(&mut self, cx: &mut Cx<'_>) {
        if self.step == Step::Sealed && self.ended {
            self.step = Step::Recorded;
            let base = Base { at: self.head.at, membership: self.head.membership.clone() };
            cx.install(base, self.stage, self.head.digest);
        }
    }
}

impl Following {
    /// The application has looked at a whole snapshot: only a good one becomes current.
    pub(crate) fn on_verified(&mut self, cx: &mut Cx<'_>, stage: u64, good: bool) -> Next {
        let Phase::Sync { snapshot: Some(incoming), .. } = &mut self.phase else {
            cx.parked_verified(stage, good);
            return Next::Stay;
        };
        if incoming.is_at(stage, Step::Checking) {
            if !good {
                let conn = self.conn.unwrap_or_default();
                return self.fault(cx, conn, PeerFault::SnapshotDigest);
            }
            incoming.verified(cx);
        }
        Next::Stay
    }

    /// The state store has made a snapshot durable.
    pub(crate) fn on_sealed(&mut self, cx: &mut Cx<'_>, stage: u64) {
        self.gets_on(cx);
        let Phase::Sync { snapshot: Some(incoming), .. } = &mut self.phase else {
            return cx.parked_sealed(stage);
        };
        if incoming.is_at(stage, Step::Sealing) {
            incoming.step = Step::Sealed;
            incoming.record(cx);
        }
    }
}

impl Cx<'_> {
    /// The application has looked at a snapshot whose connection broke.
    pub(crate) fn parked_verified(&mut self, stage: u64, good: bool) {
        let Some(mut parked) = self.s.parked.take_if(|it| it.is_at(stage, Step::Checking)) else {
            return;
        };
        if !good {
            return parked.drop(self);
        }
        parked.verified(self);
        self.s.parked = Some(parked);
    }

    /// The state store has made one durable: it waits for a leader to go on with it.
    pub(crate) fn parked_sealed(&mut self, stage: u64) {
        if let Some(parked) = self.s.parked.as_mut().filter(|it| it.is_at(stage, Step::Sealing)) {
            parked.step = Step::Sealed;
        }
    }
}
