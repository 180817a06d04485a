import Logging
import NIOCore
import NIOPosix

/// Whether the socket's file is being looked after.
struct SocketWatch {
    /// A look that is under way, and completes when what it found has been taken up.
    var look: EventLoopPromise<Void>?
    var isEnded = false
}

/// A socket lives on without its file, and nobody finds it any more: a tidy-up of /run or /tmp, or a deployment that removes
/// what it takes for stale, cuts a sidecar off from every gateway that connects later. So the file is made again, unless
/// somebody else has put another there that is in use.
extension Server {
    private enum Finding: Sendable {
        case inPlace(SocketFile)
        case made(SocketFile, any Channel)
        case trouble(String)
    }

    /// On the event loop, as all of these.
    func watchSocket() {
        guard !socketWatch.value.isEnded else { return }
        _ = eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(ServerBounds.socketLookIntervalNs)) { [self] in
            lookAtSocket()
        }
    }

    /// - Returns: completes when nothing is under way any more.
    func endSocketWatch() -> EventLoopFuture<Void> {
        socketWatch.value.isEnded = true
        return socketWatch.value.look?.futureResult ?? eventLoop.makeSucceededVoidFuture()
    }

    private func lookAtSocket() {
        guard !socketWatch.value.isEnded, let file = socketFile.value else { return }
        let look = eventLoop.makePromise(of: Void.self)
        socketWatch.value.look = look
        // Looking at files may block for a moment.
        NIOThreadPool.singleton.runIfActive(eventLoop: eventLoop) { [self] () -> Finding in
            if case .inPlace(let file) = file.standing() { return .inPlace(file) }
            do {
                let (file, channel) = try makeSocket()
                return .made(file, channel)
            } catch {
                return .trouble("\(error)")
            }
        }.assumeIsolated().whenComplete { [self] result in
            if case .success(let finding) = result { take(finding) }
            socketWatch.value.look = nil
            look.succeed()
            watchSocket()
        }
    }

    private func take(_ finding: Finding) {
        let before = host.value.socketHistory.trouble
        switch finding {
        case .inPlace(let file):
            socketFile.value = file
            host.value.socketHistory.trouble = ""
            if !before.isEmpty {
                logger.info("the socket's file is in place again", metadata: ["socket": "\(file.path)"])
            }
        case .made(let file, let channel):
            // Connections that came by the old one go on.
            changeFeed.value?.close(promise: nil)
            changeFeed.value = channel
            socketFile.value = file
            host.value.socketHistory.remakes += 1
            host.value.socketHistory.trouble = ""
            logger.warning(
                "the socket's file was removed or replaced, and has been made again",
                metadata: ["socket": "\(file.path)"])
        case .trouble(let reason):
            host.value.socketHistory.trouble = reason
            guard reason != before else { return }
            logger.error(
                "the socket's file was removed or replaced, and cannot be made again: only connections that are there go on",
                metadata: ["reason": "\(reason)"])
        }
    }
}
