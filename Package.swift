// swift-tools-version: 6.2
import PackageDescription

/// One set of settings for every target, so that no target is laxer than another.
let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioHTTP = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let nioHTTP2 = Target.Dependency.product(name: "NIOHTTP2", package: "swift-nio-http2")
let nioHPACK = Target.Dependency.product(name: "NIOHPACK", package: "swift-nio-http2")
let protobuf = Target.Dependency.product(name: "SwiftProtobuf", package: "swift-protobuf")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let heap = Target.Dependency.product(name: "HeapModule", package: "swift-collections")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let serviceLifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")

/// Targets that have a page of their own beside their sources.
let documented: Set = [
    "SluicePolicy", "SluiceEngine", "SluiceProtocol", "SluiceRedis", "SluiceServer", "SluiceEnvoy", "SluiceGRPC",
    "sluice-load",
]

func page(of name: String) -> [String] { documented.contains(name) ? ["README.md"] : [] }

func module(
    _ name: String, _ dependencies: [Target.Dependency], resources: [Resource]? = nil, exclude: [String] = []
) -> Target {
    .target(
        name: name, dependencies: dependencies, exclude: page(of: name) + exclude, resources: resources,
        swiftSettings: settings)
}

func program(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(name: name, dependencies: dependencies, exclude: page(of: name), swiftSettings: settings)
}

func tests(
    _ name: String, _ dependencies: [Target.Dependency], path: String? = nil, exclude: [String] = []
) -> Target {
    .testTarget(name: name, dependencies: dependencies, path: path, exclude: exclude, swiftSettings: settings)
}

/// Tests like others, or the program that `scripts/simulate` builds, for release and with `-enable-testing`: both see the
/// engine from inside, which no ordinary target can.
let simulation: Target =
    Context.environment["SLUICE_SIMULATE"] == nil
    ? .testTarget(
        name: "SimulationTests", dependencies: ["SluiceEngine", "SluicePolicy", "StoreModel", heap],
        path: "Tests/Simulation", exclude: ["Main"], sources: ["Core", "Tests"], swiftSettings: settings)
    : .executableTarget(
        name: "simulate",
        dependencies: ["SluiceEngine", "SluicePolicy", "StoreModel", "SluiceTerminal", heap, argumentParser],
        path: "Tests/Simulation", exclude: ["Tests"], sources: ["Core", "Main"], swiftSettings: settings)

let package = Package(
    name: "sluice",
    products: [
        .executable(name: "sluiced", targets: ["sluiced"]),
        .executable(name: "sluicectl", targets: ["sluicectl"]),
        .executable(name: "sluice-load", targets: ["sluice-load"]),
        .library(name: "SluiceClient", targets: ["SluiceClient"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl.git", from: "2.37.0"),
        .package(url: "https://github.com/apple/swift-nio-http2.git", from: "1.46.0"),
        .package(url: "https://github.com/apple/swift-crypto.git", from: "4.5.0"),
        .package(url: "https://github.com/apple/swift-protobuf.git", from: "1.39.0"),
        .package(url: "https://github.com/apple/swift-log.git", from: "1.12.0"),
        .package(url: "https://github.com/apple/swift-collections.git", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle.git", from: "2.13.0"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift.git", from: "0.2.0"),
    ],
    targets: [
        // Pure: no sockets, no clock.
        module("SluicePolicy", []),
        module("SluiceEngine", ["SluicePolicy", deque]),

        // The two wires: to gateways and to Redis.
        module("SluiceProtocol", [nioCore]),
        .systemLibrary(name: "CHiredis", providers: [.apt(["libhiredis-dev"])]),
        module(
            "SluiceRedis", ["SluiceEngine", "SluicePolicy", "CHiredis", nioCore, nioPosix, nioSSL, logging],
            resources: [
                .embedInCode("Scripts/prelude.lua"), .embedInCode("Scripts/charge.lua"),
                .embedInCode("Scripts/charge_rest.lua"), .embedInCode("Scripts/usage.lua"),
                .embedInCode("Scripts/checks.lua"), .embedInCode("Scripts/counters.lua"),
                .embedInCode("Scripts/decide.lua"), .embedInCode("Scripts/settlements.lua"),
                .embedInCode("Scripts/replicas.lua"), .embedInCode("Scripts/overrides.lua"),
                .embedInCode("Scripts/batch.lua"),
                .embedInCode("Scripts/Algorithms/fixed_window.lua"),
                .embedInCode("Scripts/Algorithms/sliding_window.lua"),
                .embedInCode("Scripts/Algorithms/sliding_log.lua"),
                .embedInCode("Scripts/Algorithms/token_bucket.lua"),
                .embedInCode("Scripts/Algorithms/concurrency.lua"),
            ]),
        // Gateways that speak gRPC: calls on HTTP/2, and Envoy's requests to checks. The second is pure.
        module("SluiceGRPC", [nioCore, nioHTTP2, nioHPACK]),
        module(
            "SluiceEnvoy", ["SluiceEngine", "SluicePolicy", "SluiceProtocol", "SluiceTerminal", protobuf],
            exclude: ["Protos"]),
        module(
            "SluiceServer",
            [
                "SluiceEngine", "SluicePolicy", "SluiceProtocol", "SluiceTerminal", "SluiceGRPC", "SluiceEnvoy",
                "SluiceDecisionLog", nioCore, nioPosix, nioHTTP, logging, deque, protobuf, crypto,
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
            ], resources: [.embedInCode("HTTP/page.html")]),
        // The lines that the sidecar writes and sluicectl reads.
        module("SluiceDecisionLog", ["SluicePolicy", "SluiceProtocol", nioCore]),
        module("SluiceClient", ["SluiceProtocol", nioCore, nioPosix]),

        // For people at a terminal.
        module("SluiceTerminal", ["SluicePolicy"]),
        // For programs that start others.
        module("SluiceProcesses", []),
        // The programs.
        program(
            "sluiced",
            [
                "SluiceServer", "SluiceRedis", "SluiceEnvoy", "SluiceEngine", "SluicePolicy", "SluiceProtocol",
                "SluiceTerminal", nioCore, nioPosix, logging, argumentParser, serviceLifecycle,
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ]),
        program(
            "sluicectl",
            [
                "SluiceTerminal", "SluiceClient", "SluiceDecisionLog", "SluiceEnvoy", "SluiceRedis", "SluiceEngine",
                "SluicePolicy", "SluiceProtocol", nioCore, nioPosix, logging, argumentParser,
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ]),
        program(
            "sluice-load",
            [
                "SluiceTerminal", "SluiceProcesses", "SluiceClient", "SluiceEngine", "SluicePolicy", "SluiceProtocol",
                nioCore, nioPosix, argumentParser,
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
                .product(name: "Histogram", package: "hdrhistogram-swift"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ]),

        // Tests.
        .target(
            name: "Support",
            dependencies: [
                "SluiceClient", "SluiceEngine", "SluicePolicy", "SluiceProcesses", "SluiceProtocol", nioCore, nioPosix,
            ],
            path: "Tests/Support", swiftSettings: settings),
        tests("SluicePolicyTests", ["SluicePolicy", "Support"]),
        // A store in plain Swift, and the words of its tests. Pure, as the engine is.
        .target(
            name: "StoreModel", dependencies: ["SluiceEngine", "SluicePolicy"], path: "Tests/Model",
            swiftSettings: settings),
        tests("SluiceEngineTests", ["SluiceEngine", "SluicePolicy", "StoreModel", "Support"]),
        simulation,
        tests("SluiceProtocolTests", ["SluiceClient", "SluiceEngine", "SluiceProtocol", nioCore, nioEmbedded]),
        tests(
            "SluiceRedisTests",
            [
                "SluiceRedis", "SluiceEngine", "SluicePolicy", "StoreModel", "Support", nioCore, nioPosix, logging,
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
            ]),
        tests(
            "SluiceServerTests",
            [
                "SluiceServer", "SluiceEngine", "SluicePolicy", "SluiceProtocol", "SluiceGRPC", "SluiceEnvoy",
                "SluiceDecisionLog", "StoreModel", "Support", nioCore, nioPosix, nioHTTP, nioEmbedded, nioHTTP2,
                nioHPACK, protobuf, logging,
            ]),
        tests("SluiceGRPCTests", ["SluiceGRPC", "Support", nioCore, nioHTTP2, nioHPACK, nioEmbedded]),
        tests("SluiceEnvoyTests", ["SluiceEnvoy", "SluiceEngine", "SluicePolicy", "SluiceTerminal", protobuf]),
        tests(
            "SluiceClientTests",
            [
                "SluiceClient", "SluiceProtocol", "Support", nioCore,
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
            ]),
        tests(
            "SluiceLoadTests",
            [
                "sluice-load", "SluiceTerminal", "SluiceProtocol", "Support", nioCore, nioPosix, argumentParser,
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
                .product(name: "Histogram", package: "hdrhistogram-swift"),
            ]),
        tests(
            "SluiceControlTests",
            [
                "sluicectl", "SluiceTerminal", "SluiceClient", "SluicePolicy", "SluiceProtocol", "Support", nioCore,
                nioPosix,
            ]),
        tests(
            "IntegrationTests", ["SluiceClient", "SluiceProcesses", "Support", nioCore], path: "Tests/Integration",
            exclude: ["StockClients", "Envoy", "Plugs"]),
    ]
)
