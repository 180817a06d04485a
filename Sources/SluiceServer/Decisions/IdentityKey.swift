import Crypto
import SluiceDecisionLog

/// The secret key with which the decision log hashes grants: HMAC-SHA-256 (RFC 2104), of which the first 16 bytes are written as
/// hexadecimal digits.
package struct IdentityKey: Sendable {
    private let key: SymmetricKey
    /// Shortest key, bytes: as long as what is written of a hash, so that it is not what is guessed.
    package static let minBytes = 16
    private static let hashBytes = 16
    private static let digits = Array("0123456789abcdef".utf8)

    /// nil if the key is too short.
    package init?(_ key: String) {
        guard key.utf8.count >= Self.minBytes else { return nil }
        self.key = SymmetricKey(data: Array(key.utf8))
    }

    func pseudonym(_ text: some Collection<UInt8>) -> [UInt8] {
        var digits: [UInt8] = []
        digits.reserveCapacity(2 * Self.hashBytes)
        for byte in HMAC<SHA256>.authenticationCode(for: Array(text), using: key).prefix(Self.hashBytes) {
            digits.append(Self.digits[Int(byte >> 4)])
            digits.append(Self.digits[Int(byte & 0xF)])
        }
        return digits
    }

    /// For the thread that writes the log.
    var identities: DecisionLogIdentities { DecisionLogIdentities { pseudonym($0) } }
}
