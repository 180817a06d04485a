/// Every bound of Envoy's requests, with its unit, its reason, and what the caller gets when it is met.
package enum EnvoyBounds {
    /// Most descriptors of one request: each is a check. With more the request is answered `INVALID_ARGUMENT`.
    package static let maxDescriptors = 32
    /// Most entries of one descriptor, as many as a check has fields. The same happens with more.
    package static let maxEntries = 20
    /// Longest window of a descriptor's own limit, s: 366 days, as for policies. The same happens with a longer one.
    package static let maxWindowSeconds: Int64 = 366 * 86_400
    /// Largest whole number that no other one is rounded to as a double, and so the largest JSON-RPC id that metadata
    /// carries as it came: 2^53 - 1.
    static let maxExactDouble = 9_007_199_254_740_991.0
    /// Largest gateways file, bytes: some thousand domains.
    package static let maxGatewaysBytes = 1_048_576
    /// Most domains of a gateways file.
    static let maxDomains = 1_000
}
