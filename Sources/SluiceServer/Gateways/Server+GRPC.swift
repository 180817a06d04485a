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

extension Server {
    /// Listens for gRPC where the configuration says so. Must not be called on the event loop.
    func listenForGRPC() async throws {
        try await listen(
            path: configuration.grpc.socketPath, address: configuration.grpc.address, door: "grpc", for: grpc
        ) { [self] _ in grpcBootstrap() }
    }

    private func grpcBootstrap() -> ServerBootstrap {
        ServerBootstrap(group: eventLoop)
            .childChannelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(
                    minimum: 1024, initial: 2048, maximum: GRPCBounds.maxReadBytes)
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
        grpc.value.close()
    }

    /// Where gRPC is served now.
    package func grpcAddresses() async throws -> [String] {
        try await eventLoop.submit { [grpc] in grpc.value.addresses }.get()
    }

    /// Replaces what gateways' requests mean between two of them.
    package func replaceGateways(_ gateways: Gateways) async throws {
        try await eventLoop.submit { [gatewayService, host] in
            gatewayService.value.gateways = gateways
            host.value.gatewaysHistory.reloaded()
        }.get()
    }

    /// Records for `INFO` that a newer gateways file was rejected.
    package func rejectGateways(reason: String) async throws {
        try await eventLoop.submit { [host] in host.value.gatewaysHistory.rejected(reason) }.get()
    }
}
