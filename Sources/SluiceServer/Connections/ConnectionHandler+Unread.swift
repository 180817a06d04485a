import Glibc
import NIOCore
import SluiceEngine
import SluiceProtocol

/// Peers that do not read their answers, and frames that never end.
extension ConnectionHandler {
    /// Checks whether written output has left.
    func verifyUnread() {
        guard let context, unverifiedBytes > 0, !isClogged else { return }
        guard unreadBytes(context.channel) > 0 else {
            unverifiedBytes = 0
            return account()
        }
        isClogged = true
        noteUnread()
        // An empty write after all others: when it completes, everything has left.
        context.writeAndFlush(wrapOutboundOut(ByteBuffer())).assumeIsolated().whenComplete { [self] _ in
            isClogged = false
            unverifiedBytes = 0
            noteUnread()
            advance()
        }
    }

    static func unreadBytes(_ channel: any Channel) -> Int {
        (try? channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
    }

    static func waitingBytes(_ channel: any Channel) -> Int {
        let count = try? channel.pipeline.syncOperations.withUnsafeTransportIfAvailable {
            (socket: NIOBSDSocket.Handle) in
            var bytes: Int32 = 0
            return ioctl(socket, UInt(FIONREAD), &bytes) == 0 ? Int(bytes) : 0
        }
        return count ?? 0
    }

    /// Records since when answers are unread.
    func noteUnread() {
        if isWritable && !isClogged {
            unwritableSinceNs = nil
        } else if unwritableSinceNs == nil {
            unwritableSinceNs = SystemClock.monotonicNs()
        }
    }

    /// Checks for a frame that never ends and for answers that are not read.
    func sweep(now: ClockReading) {
        // While the handler does not read, a frame cannot end: that is not the peer's delay.
        if frameBeganNs != nil && !mayRead { frameBeganNs = now.monotonicNs }
        if let frameBeganNs, now.monotonicNs - frameBeganNs >= Int64(ProtocolBounds.maxFrameSeconds) * 1_000_000_000,
            phase == .open
        {
            self.frameBeganNs = nil
            reject(.tooSlow)
            advance()
        }
        // What a listener leaves unread is bounded: it may stop its terminal for as long as it likes.
        if let unwritableSinceNs, phase != .listening,
            now.monotonicNs - unwritableSinceNs >= Int64(ProtocolBounds.maxUnreadSeconds) * 1_000_000_000
        {
            host.noteUnread()
            cutOff()
        }
        verifyUnread()
        rejectStalled(now: now)
    }

    /// Ends a connection whose peer writes and does not read, at the bound: it would wait for us as we wait for it. A peer
    /// whose write fails may still read what was answered, and at its end why.
    private func rejectStalled(now: ClockReading) {
        guard let context, phase == .open, !hasRoomForReplies else {
            stalled = nil
            return
        }
        // Nothing may be unread: replies also wait for the store.
        let unread = unreadBytes(context.channel)
        guard unread > 0, waitingBytes(context.channel) > 0 else {
            stalled = nil
            return
        }
        guard let stalled, stalled.unreadBytes == unread else {
            self.stalled = (now.monotonicNs, unread)
            return
        }
        let stalledNs = now.monotonicNs - stalled.sinceNs
        guard stalledNs >= Int64(ProtocolBounds.maxStalledSeconds) * 1_000_000_000 else { return }
        host.noteStalled(now: now)
        reject(.answersUnread)
        shutReading()
        advance()
    }
}
