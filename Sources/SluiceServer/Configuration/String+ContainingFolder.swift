extension String {
    /// Of a path: the folder that holds its file, `.` if it names none.
    var containingFolder: String { lastIndex(of: "/").map { $0 == startIndex ? "/" : String(self[..<$0]) } ?? "." }
}
