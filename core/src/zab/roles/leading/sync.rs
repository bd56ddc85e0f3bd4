//! What a leader and those whom it synchronises say to each other meanwhile: parts of a state, and
//! that they live.

use super::Leading;
use super::feed::Feed;
use super::reign::Handled;
use super::source::Source;
use crate::words::{ConnId, Epoch, Instant};
use crate::zab::cx::{Cx, Next};
use crate::zab::error::PeerFault;
use crate::zab::message::Item;

impl Leading {
    /// Gives up states that nobody will ask for, or that would be of no use.
    pub(super) fn drop_parked(
        &mut self,
        cx: &mut Cx<'_>,
        useless: impl Fn(&Source, Instant) -> bool,
    ) {
        self.parked.retain(|_, (source, since)| {
            let useless = useless(source, *since);
            if useless {
                source.close(cx);
            }
            !useless
        });
    }

    /// The follower to which this state is being sent.
    fn follower_of(&mut self, source: ConnId) -> Option<(ConnId, &mut Source)> {
        let sources = self.peers.iter_mut().filter_map(|(conn, peer)| {
            let source = peer.feed.as_mut().and_then(Feed::source)?;
            Some((*conn, source))
        });
        sources.into_iter().find(|(_, found)| found.id() == source)
    }

    /// The application holds its state for a follower.
    pub(crate) fn on_snapshot_opened(
        &mut self,
        cx: &mut Cx<'_>,
        source: ConnId,
        digest: crate::words::Digest,
        bytes: u64,
    ) {
        if let Some((conn, source)) = self.follower_of(source) {
            source.opened(cx, conn, digest, bytes);
            source.pump(cx, conn);
        }
    }

    /// The application read a part of its state for a follower.
    pub(crate) fn on_snapshot_read(
        &mut self,
        cx: &mut Cx<'_>,
        source: ConnId,
        items: &[Item],
        last: bool,
    ) {
        if let Some((conn, source)) = self.follower_of(source) {
            source.read(cx, items, last);
            source.pump(cx, conn);
        }
    }

    pub(super) fn on_chunk_ack(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        upto: u64,
        done: bool,
    ) -> Handled {
        self.progress = cx.now.at;
        if !self.feed(conn)?.on_chunk_ack(cx, upto, done) {
            return Err(PeerFault::Chunk(upto));
        }
        self.pump(cx, conn);
        Ok(Next::Stay)
    }

    /// A follower lives, though it has nothing to say; `work` grows with what its connection and
    /// its disk bring about.
    pub(super) fn on_alive(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        epoch: Epoch,
        work: u64,
    ) -> Handled {
        let expected = self.epoch().unwrap_or_default();
        if epoch != expected {
            return Err(PeerFault::Epoch { got: epoch, expected });
        }
        self.on_heard(cx, conn);
        let Some(peer) = self.peers.get_mut(&conn).filter(|peer| peer.work != work) else {
            return Ok(Next::Stay);
        };
        (peer.work, peer.worked) = (work, cx.now.at);
        if peer.feed.is_some() {
            self.progress = cx.now.at;
        }
        Ok(Next::Stay)
    }

    /// Bytes arrived on this connection, of a message that is not all there yet.
    pub(crate) fn on_heard(&mut self, cx: &Cx<'_>, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.heard = cx.now.at;
        let node = peer.node;
        if let Some(reign) = self.reign() {
            reign.heard.insert(node, cx.now.at);
        }
    }
}
