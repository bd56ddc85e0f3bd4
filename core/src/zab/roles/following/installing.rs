//! A snapshot that is all here on its way to be the node's state: the application looks at it, the
//! state store makes it durable, and only then does the journal name it, by one record that waits
//! for nothing. Until that record is issued the old state stands, the journal is free for everything
//! else, and the snapshot can be given up, by this node or by a crash.

use super::incoming::{Incoming, Step};
use super::joined::{Joined, Phase};
use crate::zab::cx::Cx;
use crate::zab::error::PeerFault;

/// The application finds it good.
fn verified(cx: &mut Cx<'_>, incoming: &mut Incoming) {
    incoming.seal(cx.out);
    planted!(cx, InstallUnsealed => sealed(cx, incoming));
}

/// The state store has made it durable.
fn sealed(cx: &mut Cx<'_>, incoming: &mut Incoming) {
    incoming.step = Step::Sealed;
    record(cx, incoming);
}

/// Has the journal name it, if it is durable and the leader waits for it.
pub(super) fn record(cx: &mut Cx<'_>, incoming: &mut Incoming) {
    if let Some((base, stage, digest)) = incoming.record() {
        cx.install(base, stage, digest);
    }
}

impl Joined {
    /// The application has looked at a whole snapshot: only a good one becomes current.
    pub(super) fn on_verified(
        &mut self,
        cx: &mut Cx<'_>,
        stage: u64,
        good: bool,
    ) -> Result<(), PeerFault> {
        let Phase::Sync { snapshot: Some(incoming), .. } = &mut self.phase else {
            cx.parked_verified(stage, good);
            return Ok(());
        };
        if incoming.is_at(stage, Step::Checking) {
            if !good {
                return Err(PeerFault::SnapshotDigest);
            }
            verified(cx, incoming);
        }
        Ok(())
    }

    /// The state store has made a snapshot durable.
    pub(super) fn on_sealed(&mut self, cx: &mut Cx<'_>, stage: u64) {
        let Phase::Sync { snapshot: Some(incoming), .. } = &mut self.phase else {
            return cx.parked_sealed(stage);
        };
        if incoming.is_at(stage, Step::Sealing) {
            sealed(cx, incoming);
        }
    }
}

impl Cx<'_> {
    /// Gives up what has arrived of a snapshot: nobody will go on with it.
    pub(crate) fn drop_parked(&mut self) {
        if let Some(parked) = self.s.parked.take() {
            parked.drop(self.out);
        }
    }

    /// Gives up what has arrived of a snapshot once nobody has gone on with it for long.
    pub(crate) fn drop_old_parked(&mut self) {
        let patience = self.s.cfg.timeouts.patience();
        let old = |parked: &Incoming| self.now.at >= parked.since.after(patience);
        if self.s.parked.as_ref().is_some_and(old) {
            self.drop_parked();
        }
    }

    /// What has arrived of a snapshot goes on being stored while nobody goes on sending it.
    pub(crate) fn parked_staged(&mut self, stage: u64, parts: u64) {
        if let Some(parked) = &mut self.s.parked {
            parked.take_in(stage, parts);
        }
    }

    /// The application has looked at a snapshot whose connection broke.
    pub(crate) fn parked_verified(&mut self, stage: u64, good: bool) {
        let Some(mut parked) = self.s.parked.take_if(|it| it.is_at(stage, Step::Checking)) else {
            return;
        };
        if !good {
            return parked.drop(self.out);
        }
        verified(self, &mut parked);
        self.s.parked = Some(parked);
    }

    /// The state store has made one durable: it waits for a leader to go on with it.
    pub(crate) fn parked_sealed(&mut self, stage: u64) {
        if let Some(parked) = self.s.parked.as_mut().filter(|it| it.is_at(stage, Step::Sealing)) {
            parked.step = Step::Sealed;
        }
    }
}
