public import HTTPTypes
public import Hummingbird
internal import Logging
internal import NIOCore
public import SluiceClient
internal import Synchronization

/// Asks Sluice before each request.
///
/// ```swift
/// let sluice = Sluice(path: "/run/sluice/sluice.sock")
/// router.add(middleware: SluiceMiddleware(sluice, tool: "orders-api", grant: { request, _ in
///     request.headers[values: HTTPField.Name("x-grant")!].first
/// }))
/// ```
///
/// A denied request gets 429, 403 or 503 with `Retry-After` and a JSON body, and the routes behind never see it; the answers to
/// others have RateLimit headers. A check is sent once: `Sluice` opens a lost connection again, and repeats only what has an id.
public struct SluiceMiddleware<Context: RequestContext>: RouterMiddleware {
    /// Who calls: a name of 1 to 256 bytes from what the gateway has authenticated; nil if that is unknown.
    public typealias GrantOf = @Sendable (Request, Context) async throws -> String?
    /// As which tool a request is checked; nil if it passes without a check.
    public typealias ToolOf = @Sendable (Request, Context) async throws -> String?
    /// What else is sent with a check.
    public typealias OptionsOf = @Sendable (Request, Context) async throws -> CheckOptions

    private let sluice: any SluiceCommands
    private let grant: GrantOf
    private let tool: ToolOf
    private let options: OptionsOf
    private let withoutAnswer: WithoutAnswer
    private let trouble = Trouble()

    /// - Parameters:
    ///   - sluice: a `Sluice`, which waits 250 ms for an answer unless it was given another time.
    ///   - withoutAnswer: what a request gets while the sidecar does not answer.
    ///   - tool: as which tool a request is checked; nil passes it without a check.
    ///   - options: the session, attributes, cost or id of a check. With `reserve`, the charge is given back if the routes
    ///     throw or answer 5xx; otherwise the slot of a `concurrency` limit is freed when the answer has been written.
    ///   - grant: who calls. A request without is denied.
    public init(
        _ sluice: any SluiceCommands, withoutAnswer: WithoutAnswer = .closed, tool: @escaping ToolOf,
        options: @escaping OptionsOf = { _, _ in CheckOptions() }, grant: @escaping GrantOf
    ) {
        self.sluice = sluice
        self.withoutAnswer = withoutAnswer
        self.tool = tool
        self.options = options
        self.grant = grant
    }

    /// The same for one tool, by a header: one that a proxy in front sets, and takes out of what clients send.
    public init(
        _ sluice: any SluiceCommands, withoutAnswer: WithoutAnswer = .closed, tool: String,
        grantHeader: HTTPField.Name
    ) {
        self.init(sluice, withoutAnswer: withoutAnswer, tool: { _, _ in tool }) { request, _ in
            request.headers[values: grantHeader].first
        }
    }

    public func handle(
        _ request: Request, context: Context, next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        guard let tool = try await tool(request, context) else { return try await next(request, context) }
        guard let grant = try await grant(request, context), !grant.isEmpty else {
            return LimitAnswer(deniedFor: "no grant", "\(tool) needs a caller that is known.").response
        }
        let answer = await check(grant, tool, options: try await options(request, context), context)
        guard answer.isAllowed else { return answer.response }
        return try await forward(request, context, as: grant, answer, next)
    }

    private func check(_ grant: String, _ tool: String, options: CheckOptions, _ context: Context) async -> LimitAnswer
    {
        do throws(SluiceError) {
            let decision = try await sluice.check(grant: grant, tool: tool, options: options)
            trouble.ends(context.logger)
            return LimitAnswer(decision)
        } catch {
            switch error {
            case .server(code: "BUSY", _): return noAnswer("busy", error, context)
            case .connect: return noAnswer("missing", error, context)
            case .timedOut: return noAnswer("timeout", error, context)
            case .closed, .cancelled: return noAnswer("lost", error, context)
            case .tooManyPending: return noAnswer("pool", error, context)
            case .malformedReply: return noAnswer("garbled", error, context)
            case .server(let code, _): return denied(code, error, context)
            case .badRequest: return denied("BADARG", error, context)
            }
        }
    }

    private func noAnswer(_ reason: String, _ error: SluiceError, _ context: Context) -> LimitAnswer {
        trouble.begins(reason, error, context.logger)
        return LimitAnswer(noAnswer: reason, withoutAnswer)
    }

    /// Names come from callers, so a request that is wrong is a denial, also where requests pass without an answer.
    private func denied(_ code: String, _ error: SluiceError, _ context: Context) -> LimitAnswer {
        context.logger.debug("a check was rejected", metadata: ["error": .stringConvertible(error)])
        return LimitAnswer(deniedFor: code, "This call cannot be checked.")
    }

    /// Runs the routes behind, and ends the reservation, if there is one.
    private func forward(
        _ request: Request, _ context: Context, as grant: String, _ answer: LimitAnswer,
        _ next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        var response: Response
        do {
            response = try await next(request, context)
        } catch {
            await end(answer, of: grant, isCancelled: true, context)
            throw LimitedError(original: error, headers: answer.headers)
        }
        for field in answer.headers { response.headers[field.name] = field.value }
        guard answer.reservation != nil else { return response }
        let (body, isCancelled) = (response.body, response.status.kind == .serverError)
        response.body = ResponseBody(contentLength: body.contentLength) { writer in
            do {
                try await body.write(writer)
            } catch {
                await end(answer, of: grant, isCancelled: isCancelled, context)
                throw error
            }
            await end(answer, of: grant, isCancelled: isCancelled, context)
        }
        return response
    }

    private func end(_ answer: LimitAnswer, of grant: String, isCancelled: Bool, _ context: Context) async {
        guard let reservation = answer.reservation else { return }
        let sluice = sluice
        // A caller that has left cancels the request's task, and its slot must be freed all the same.
        await Task {
            do throws(SluiceError) {
                if isCancelled {
                    _ = try await sluice.cancel(grant: grant, reservation: reservation)
                } else {
                    _ = try await sluice.release(grant: grant, reservation: reservation)
                }
            } catch {
                context.logger.warning("a reservation was not ended", metadata: ["error": .stringConvertible(error)])
            }
        }.value
    }
}

/// An error of the routes behind, with the RateLimit headers on its answer.
struct LimitedError: HTTPResponseError {
    var original: any Error
    var headers: HTTPFields

    var status: HTTPResponse.Status { (original as? any HTTPResponseError)?.status ?? .internalServerError }

    func response(from request: Request, context: some RequestContext) throws -> Response {
        guard let known = original as? any HTTPResponseError else {
            context.logger.error("a route failed", metadata: ["error": "\(original)"])
            return Response(status: status, headers: headers)
        }
        var response = try known.response(from: request, context: context)
        for field in headers { response.headers[field.name] = field.value }
        return response
    }
}

/// One line in the log when something begins to be wrong, and one when it ends.
private final class Trouble: Sendable {
    private let reason = Mutex<String?>(nil)

    func begins(_ reason: String, _ error: SluiceError, _ logger: Logger) {
        guard replace(by: reason) != reason else { return }
        let facts: Logger.Metadata = ["reason": "\(reason)", "error": .stringConvertible(error)]
        logger.warning("the rate limiter does not answer", metadata: facts)
    }

    func ends(_ logger: Logger) {
        guard replace(by: nil) != nil else { return }
        logger.notice("the rate limiter answers again")
    }

    private func replace(by new: String?) -> String? {
        reason.withLock { current in
            defer { current = new }
            return current
        }
    }
}
