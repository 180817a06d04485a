import Glibc
import NIOCore
import NIOPosix
package import SluiceEnvoy
import SluiceGRPC

/// Where gateways call over gRPC, and how.
package struct GRPCConfiguration: Sendable {
    package var socketPath: String?
    package var address: ListenAddress?
    /// How long a check may take, ms.
    package var budgetMs: Int64
    package var gateways = Gateways()

    package init(socketPath: String? = nil, address: ListenAddress? = nil, budgetMs: Int64 = 12) {
        self.socketPath = socketPath
        self.address = address
        self.budgetMs = budgetMs
    }
}

/// The listeners of gRPC.
struct GRPCListeners {
    var channels: [any Channel] = []
    var file: SocketFile?
    /// What was bound, for the log and for tests: a port that the system chose.
    var addresses: [String] = []
}

extension Server {
    /// Listens for gRPC where the configuration says so. Must not be called on the event loop.
    func listenForGRPC(_ configuration: GRPCConfiguration, mode: UInt32, groupID: UInt32?) async throws {
        if let path = configuration.socketPath {
            let (file, channel) = try await NIOThreadPool.singleton.runIfActive { [self] in
                try SocketFile.make(path: path, mode: mode, groupID: groupID) { socket in
                    let bound = try grpcBootstrap().withBoundSocket(socket).wait()
                    Glibc.listen(socket, ServerBounds.listenBacklog)
                    return bound
                }
            }
            try await eventLoop.submit { [grpc] in
                grpc.value.file = file
                grpc.value.channels.append(channel)
                grpc.value.addresses.append(path)
            }.get()
        }
        if let address = configuration.address {
            let channel: any Channel
            do {
                channel = try await grpcBootstrap()
                    .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                    .serverChannelOption(.backlog, value: ServerBounds.listenBacklog)
                    .bind(host: address.host, port: address.port).get()
            } catch {
                throw ListenFailure("grpc-listen", address, error)
            }
            let bound = ListenAddress(host: address.host, port: channel.localAddress?.port ?? address.port)
            try await eventLoop.submit { [grpc] in
                grpc.value.channels.append(channel)
                grpc.value.addresses.append("\(bound)")
            }.get()
        }
    }

    private func grpcBootstrap() -> ServerBootstrap {
        ServerBootstrap(group: eventLoop)
            .childChannelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(minimum: 1024, initial: 4096, maximum: GRPCBounds.maxReadBytes)
            )
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelInitializer { [gatewayService] channel in
                channel.eventLoop.makeCompletedFuture {
                    try GRPCDoor(gatewayService.value).add(to: channel.pipeline.syncOperations)
                }
            }
    }

    /// Accepts no more gRPC connections. On the event loop.
    func stopListeningForGRPC() {
        for channel in grpc.value.channels { channel.close(promise: nil) }
        grpc.value.file?.remove()
        grpc.value = GRPCListeners()
    }

    /// Where gRPC is served now.
    package func grpcAddresses() async throws -> [String] {
        try await eventLoop.submit { [grpc] in grpc.value.addresses }.get()
    }

    /// Replaces what gateways' requests mean between two of them.
    package func replaceGateways(_ gateways: Gateways) async throws {
        try await eventLoop.submit { [gatewayService] in gatewayService.value.gateways = gateways }.get()
    }
}
