// swift-tools-version: 6.2
import PackageDescription

/// As strict as Sluice's own targets.
let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

let package = Package(
    name: "sluice-hummingbird",
    platforms: [.macOS(.v15)],
    products: [
        .library(name: "SluiceHummingbird", targets: ["SluiceHummingbird"]),
        .executable(name: "example-gateway", targets: ["example-gateway"]),
    ],
    dependencies: [
        // The repository that this folder is in, whatever its own folder is called.
        .package(name: "sluice", path: "../.."),
        .package(url: "https://github.com/hummingbird-project/hummingbird.git", from: "2.20.0", traits: []),
        .package(url: "https://github.com/apple/swift-http-types.git", from: "1.8.0", traits: []),
        .package(url: "https://github.com/apple/swift-log.git", from: "1.12.0"),
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.0"),
    ],
    targets: [
        .target(
            name: "SluiceHummingbird",
            dependencies: [
                .product(name: "SluiceClient", package: "sluice"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
            ], swiftSettings: settings),
        .executableTarget(
            name: "example-gateway",
            dependencies: [
                "SluiceHummingbird",
                .product(name: "SluiceClient", package: "sluice"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "NIOCore", package: "swift-nio"),
            ], swiftSettings: settings),
    ]
)
