/// User and password for Redis. Its description, as text or in a debugger, never shows the password.
package struct RedisCredentials: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    /// An ACL user; nil for the default user.
    package var user: String?
    package var password: String

    package init(user: String? = nil, password: String) {
        self.user = user
        self.password = password
    }

    /// An empty user or password is none: nil if that leaves nothing to send. A user without a password is one whom an
    /// ACL lets in with any; the default user is such a one by itself.
    package static func given(user: String?, password: String?) -> RedisCredentials? {
        let user = user.flatMap { $0.isEmpty ? nil : $0 }
        let password = password ?? ""
        if password.isEmpty, user == nil || user == "default" { return nil }
        return RedisCredentials(user: user, password: password)
    }

    package var description: String { "\(user ?? "default"):***" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: ["user": user ?? "default"]) }
}
