import SwiftProtobuf
import Testing

@testable import SluiceEnvoy

/// Questions and answers as messages, through the bytes that gateways send and get.
extension ExternalAuthorization {
    enum MessageStep {
        case answer(Envoy_Service_Auth_V3_CheckResponse)
        case check(GatewayCheck, ExternalAuthorization)
    }

    static func begin(
        _ request: Envoy_Service_Auth_V3_CheckRequest, _ gateways: Gateways,
        isListed: (_ grant: String, _ tool: String, _ server: String?) -> Bool
    ) -> MessageStep {
        do {
            let bytes: [UInt8] = try request.serializedBytes()
            switch begin(try Question(serializedBytes: bytes), gateways, isListed: isListed) {
            case .answer(let answer): return .answer(try Envoy_Service_Auth_V3_CheckResponse(serializedBytes: answer))
            case .check(let check, let authorization): return .check(check, authorization)
            }
        } catch {
            Issue.record(error)
            return .answer(Envoy_Service_Auth_V3_CheckResponse())
        }
    }

    func message(to answer: GatewayAnswer) -> Envoy_Service_Auth_V3_CheckResponse {
        do {
            return try Envoy_Service_Auth_V3_CheckResponse(serializedBytes: response(to: answer))
        } catch {
            Issue.record(error)
            return Envoy_Service_Auth_V3_CheckResponse()
        }
    }
}

extension RateLimitExchange {
    func message(to answers: [GatewayAnswer]) throws -> Envoy_Service_Ratelimit_V3_RateLimitResponse {
        try Envoy_Service_Ratelimit_V3_RateLimitResponse(serializedBytes: response(to: answers))
    }
}

extension MCPMetadata {
    /// nil if its bytes cannot be read.
    init?(_ metadata: Google_Protobuf_Struct) {
        guard let bytes: [UInt8] = try? metadata.serializedBytes() else { return nil }
        try? self.init(bytes, bytes.indices)
    }

    /// A value as SwiftProtobuf reads it.
    static func value(_ value: Google_Protobuf_Value?) -> Value {
        switch value?.kind {
        case nil: .none
        case .stringValue(let text): .text(text)
        case .numberValue(let number): .number(number)
        default: .other
        }
    }
}
