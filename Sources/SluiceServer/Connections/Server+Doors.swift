import Glibc
import Logging
import NIOCore
import NIOPosix

/// What a door beside the socket, for HTTP or gRPC, listens on.
struct DoorListeners {
    private var channels: [any Channel] = []
    private var file: SocketFile?
    /// What was bound, for the log and for tests: a path, or an address with the port that the system chose.
    private(set) var addresses: [String] = []

    mutating func add(_ channel: any Channel, _ file: SocketFile? = nil, at address: String) {
        channels.append(channel)
        if let file { self.file = file }
        addresses.append(address)
    }

    mutating func close() {
        for channel in channels { channel.close(promise: nil) }
        file?.remove()
        self = DoorListeners()
    }
}

/// The file of a door's socket cannot be made.
package struct DoorSocketFailure: Error, CustomStringConvertible {
    let setting: String
    let failure: SocketFile.Failure

    package var isInUse: Bool { failure.isInUse }
    package var description: String { failure.sentence(setting: setting) }
}

/// A TCP address cannot be listened on.
package struct ListenFailure: Error, CustomStringConvertible {
    package var setting: String
    package var address: ListenAddress
    package var reason: String
    /// Whether another program listens there.
    package var isInUse: Bool

    package var description: String {
        "--\(setting): cannot listen on \(address): \(reason)" + (isInUse ? ", choose another port" : "")
    }

    init(_ setting: String, _ address: ListenAddress, _ error: any Error) {
        let number = (error as? IOError)?.errnoCode
        self.setting = setting
        self.address = address
        reason = number.map { String(cString: strerror($0)) } ?? "\(error)"
        isInUse = number == EADDRINUSE
    }
}

extension Server {
    /// Listens where a door's settings say so. Must not be called on the event loop.
    ///
    /// - Parameters:
    ///   - door: what the names of its two settings begin with, for their faults.
    ///   - makeBootstrap: gets the address, or nil for a Unix socket.
    func listen(
        path: String?, address: ListenAddress?, door: String, for listeners: NIOLoopBoundBox<DoorListeners>,
        makeBootstrap: @escaping @Sendable (ListenAddress?) -> ServerBootstrap
    ) async throws {
        if let path {
            let (file, channel): (SocketFile, any Channel)
            do {
                (file, channel) = try await makeSocketUnlocked(path) { makeBootstrap(nil) }
            } catch let failure as SocketFile.Failure {
                throw DoorSocketFailure(setting: "\(door)-socket", failure: failure)
            }
            try await eventLoop.submit { listeners.value.add(channel, file, at: path) }.get()
        }
        guard let address else { return }
        let channel: any Channel
        do {
            channel = try await makeBootstrap(address)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .serverChannelOption(.backlog, value: ServerBounds.listenBacklog)
                .bind(host: address.host, port: address.port).get()
        } catch {
            throw ListenFailure("\(door)-listen", address, error)
        }
        let bound = ListenAddress(host: address.host, port: channel.localAddress?.port ?? address.port)
        try await eventLoop.submit { listeners.value.add(channel, at: "\(bound)") }.get()
    }

    /// Makes a socket's file and listens on it, or takes the socket that a service manager made; tries again for a bounded
    /// time while another process holds the lock of the folder. File operations block their thread for a moment.
    func makeSocketUnlocked(
        _ path: String, _ makeBootstrap: @escaping @Sendable () -> ServerBootstrap
    ) async throws -> (SocketFile, any Channel) {
        if let socket = configuration.handedOver[path] {
            return try await NIOThreadPool.singleton.runIfActive { [self] in
                (SocketFile.handedOver(path), try listen(on: socket, makeBootstrap()))
            }
        }
        let deadline = ContinuousClock.now + .nanoseconds(ServerBounds.socketLockLimitNs)
        var isFirst = true
        while true {
            do {
                let (file, channel) = try await NIOThreadPool.singleton.runIfActive { [self] in
                    try makeSocket(path, takesOver: configuration.takesOver, makeBootstrap)
                }
                if let predecessor = file.predecessor {
                    logger.notice(
                        "took over the socket of a running sluiced, which can be ended now",
                        metadata: ["socket": "\(path)", "pid": "\(predecessor)"])
                }
                return (file, channel)
            } catch let failure as SocketFile.Failure where failure.isLocked && ContinuousClock.now < deadline {
                if isFirst { logger.info("waits for the lock of the socket's folder", metadata: ["socket": "\(path)"]) }
                isFirst = false
                try await Task.sleep(for: .nanoseconds(ServerBounds.socketLockPauseNs))
            }
        }
    }

    /// Must not be called on the event loop: it waits for the loop.
    func makeSocket(
        _ path: String, takesOver: Bool, _ makeBootstrap: () -> ServerBootstrap
    ) throws -> (SocketFile, any Channel) {
        let (mode, groupID) = (configuration.socketMode, configuration.socketGroupID)
        return try SocketFile.make(path: path, mode: mode, groupID: groupID, takesOver: takesOver) { socket in
            try listen(on: socket, makeBootstrap())
        }
    }

    private func listen(on socket: Int32, _ bootstrap: ServerBootstrap) throws -> any Channel {
        let bound = try bootstrap.withBoundSocket(socket).wait()
        // The event loop listens on a given socket before it reads its options, with a backlog of 128. Listening
        // again only changes that.
        Glibc.listen(socket, ServerBounds.listenBacklog)
        return bound
    }
}
