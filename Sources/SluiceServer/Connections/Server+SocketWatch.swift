import Logging
import NIOCore
import NIOPosix

/// Whether the socket's file is being watched.
struct SocketWatch {
    /// A check in progress; it completes when its finding has been handled.
    var look: EventLoopPromise<Void>?
    var isEnded = false
}

/// A socket survives the loss of its file, but clients can no longer find it. A clean-up of /run or /tmp, or a
/// deployment that removes a file it considers stale, cuts a sidecar off from every gateway that connects later. So the
/// file is created again, unless another socket that is in use has taken its place.
extension Server {
    private enum Finding: Sendable {
        case inPlace(SocketFile)
        case made(SocketFile, any Channel)
        case trouble(String)
        /// Another process listens there: it took over, or somebody made a mistake.
        case another(String)
    }

    /// On the event loop, like all functions here.
    func watchSocket() {
        guard !socketWatch.value.isEnded else { return }
        _ = eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(ServerBounds.socketLookIntervalNs)) { [self] in
            lookAtSocket()
        }
    }

    /// - Returns: completes when no check is in progress any more.
    func endSocketWatch() -> EventLoopFuture<Void> {
        socketWatch.value.isEnded = true
        return socketWatch.value.look?.futureResult ?? eventLoop.makeSucceededVoidFuture()
    }

    private func lookAtSocket() {
        guard !socketWatch.value.isEnded, let file = socketFile.value else { return }
        let look = eventLoop.makePromise(of: Void.self)
        socketWatch.value.look = look
        // File operations may block for a moment.
        NIOThreadPool.singleton.runIfActive(eventLoop: eventLoop) { [self] () -> Finding in
            if case .inPlace(let file) = file.standing() { return .inPlace(file) }
            do {
                let (file, channel) = try makeSocket()
                return .made(file, channel)
            } catch let failure as SocketFile.Failure where failure.isInUse && !failure.isLocked {
                return .another("\(failure)")
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
            // Connections made through the old one stay open.
            listener.value?.close(promise: nil)
            listener.value = channel
            socketFile.value = file
            host.value.socketHistory.remakes += 1
            host.value.socketHistory.trouble = ""
            logger.warning(
                "the socket's file was removed or replaced, and has been made again",
                metadata: ["socket": "\(file.path)"])
        case .another(let reason):
            host.value.socketHistory.trouble = reason
            guard reason != before else { return }
            logger.warning(
                "another sluiced listens at the socket now: only open connections go on, and this one can be ended",
                metadata: ["socket": "\(configuration.socketPath)"])
        case .trouble(let reason):
            host.value.socketHistory.trouble = reason
            guard reason != before else { return }
            logger.error(
                "the socket's file was removed or replaced, and cannot be made again: only open connections go on",
                metadata: ["reason": "\(reason)"])
        }
    }
}
