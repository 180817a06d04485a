import Dispatch
internal import NIOCore
internal import NIOSSL
import SluicePolicy

/// As whom connections are opened, and whether over TLS. What is in files is read at each connect, so that a new password
/// or certificate is used from the next connection on.
package struct RedisAccess: Sendable {
    /// Reads a whole file; its errors say the path and the reason.
    package typealias ReadFile = @Sendable (_ path: String) throws -> [UInt8]

    package var credentials: RedisCredentials?
    /// The password in it replaces that of `credentials`, unless it is empty.
    package var passwordFile: String?
    /// Who sends the password of `passwordFile`; nil: the default user.
    package var user: String?
    /// nil: no TLS.
    package var tls: RedisTLS?
    package var readFile: ReadFile

    package init(
        credentials: RedisCredentials?, user: String? = nil, passwordFile: String? = nil, tls: RedisTLS? = nil,
        readFile: @escaping ReadFile = { throw RedisAccessError("\($0): no files are read") }
    ) {
        self.credentials = credentials
        self.user = user
        self.passwordFile = passwordFile
        self.tls = tls
        self.readFile = readFile
    }

    /// What one connection needs.
    struct Contents: Sendable {
        var credentials: RedisCredentials?
        var context: NIOSSLContext?
    }

    /// Tries everything now, before the first connection.
    /// - Throws: what is wrong with which file.
    package func check() throws(RedisAccessError) {
        _ = try read()
        if let name = tls?.serverName, !RedisTLS.isName(name) {
            throw RedisAccessError(
                "--redis-server-name: found \"\(name.prefix(253))\", expected a name, such as redis.internal (an IP address "
                    + "is compared if it is the host of --redis)")
        }
    }

    /// Reads the files on another thread, if there are any, and returns to the event loop.
    func read(on eventLoop: any EventLoop) -> EventLoopFuture<Contents> {
        guard passwordFile != nil || tls != nil else {
            return eventLoop.makeSucceededFuture(Contents(credentials: credentials, context: nil))
        }
        let promise = eventLoop.makePromise(of: Contents.self)
        DispatchQueue.global().async { promise.completeWith(Result { try read() }) }
        return promise.futureResult
    }

    private func read() throws(RedisAccessError) -> Contents {
        var contents = Contents(credentials: credentials, context: nil)
        if let passwordFile {
            let bytes = try RedisAccessError.wrapping { try readFile(passwordFile) }
            let password = String(decoding: bytes, as: UTF8.self).withoutFinalLineEnds()
            if !password.isEmpty { contents.credentials = .given(user: user, password: password) }
        }
        contents.context = try tls?.context(readFile)
        return contents
    }
}

/// One line on a file that connections need.
package struct RedisAccessError: Error, Sendable, Equatable, CustomStringConvertible {
    package var description: String

    init(_ description: String) { self.description = description }

    static func wrapping<Value>(_ body: () throws -> Value) throws(RedisAccessError) -> Value {
        do {
            return try body()
        } catch {
            throw RedisAccessError("\(error)")
        }
    }
}
