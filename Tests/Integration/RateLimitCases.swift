import Foundation
import Support
import Testing

/// The policies and the gateways file of ratelimit_cases.json.
struct RateLimitCases {
    private let policies: [String: Any]
    private let gateways: Any

    init(_ text: String) throws {
        let root = try #require(JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        policies = try #require(root["policies"] as? [String: Any])
        gateways = try #require(root["gateways"])
    }

    /// Writes `gateways.json` and the folder `policies`.
    func write(to folder: TemporaryFolder) throws {
        try FileManager.default.createDirectory(atPath: folder.path("policies"), withIntermediateDirectories: false)
        for (name, document) in policies.map({ ("policies/\($0.key)", $0.value) }) + [("gateways.json", gateways)] {
            let bytes = try JSONSerialization.data(withJSONObject: document, options: [.sortedKeys])
            _ = try folder.write(String(decoding: bytes, as: UTF8.self), to: name)
        }
    }
}
