namespace LsmFs.Engine

// Who may speak: the first commands of a connection to a server that has a file of passwords, and that file.
//
// A client authenticates with a `set`, whose key, flags and exptime say nothing:
//
//   set <any> <any> <any> <bytes>\r\n
//   <user> <password>\r\n
//
// and a file of passwords is a line for each user, the user ending at the first colon:
//
//   <user>:<password>\n
//
// Invariants
//   1. However the bytes of a client are cut into calls, the steps other than NeedMore are the same: a step is a function of the bytes not yet consumed.
//   2. A client that has not authenticated has at most `lineLengthMax` bytes of a line, or a line and `tokenLengthMax` + 2 bytes, buffered for it.
//   3. Only a Check whose user and password are in the file ends it: nothing that a stranger sends is carried out.

open System
open System.Collections.Generic
open Microsoft.FSharp.NativeInterop

/// A user who may authenticate.
[<Struct; NoComparison; NoEquality>]
type Credential = { User: byte[]; Password: byte[] }

/// What a file of passwords says.
[<NoComparison; NoEquality>]
type PasswordList = {
    /// At least one, at most `Authentication.credentialCountMax`.
    Credentials: Credential[]
    /// Lines behind those, which do not count.
    IgnoredCount: int
}

/// What is to be done with the bytes of a client that has not authenticated.
type AuthenticationStepKind =
    /// Call again with the same bytes and more behind them. `WantedBytes` is how many in all, 0 when unknown.
    | NeedMore = 0uy
    /// Send `Reply`, and go on behind `ConsumedBytes`.
    | Answer = 1uy
    /// Look the user and the password up, and `Authentication.answer` with what comes of it; go on behind `ConsumedBytes`.
    | Check = 2uy
    /// Close without a word.
    | Close = 3uy
    /// Send `Reply`, and close. Only in the binary protocol, as those below.
    | AnswerAndClose = 4uy
    /// A Check that cannot succeed: send `Reply`, and count it as one.
    | Failure = 5uy
    /// Tell the version, which everybody may know.
    | Version = 6uy

/// One step of a client that has not authenticated. Offsets count from the start of the bytes that were given.
[<Struct>]
type AuthenticationStep = {
    Kind: AuthenticationStepKind
    Reply: ReplyCode
    ConsumedBytes: int
    WantedBytes: int
    UserOffset: int
    UserLength: int
    PasswordOffset: int
    PasswordLength: int
}

/// Deciding what a client that has not authenticated is told.
[<RequireQualifiedAccess>]
module Authentication =

    [<Literal>]
    let private space = 32uy

    [<Literal>]
    let private colon = 58uy

    [<Literal>]
    let private newline = 10uy

    [<Literal>]
    let private carriageReturn = 13uy

    /// The shortest line, end included, that is answered; `quit` is below it.
    [<Literal>]
    let private lineBytesMin = 7

    /// The longest `<user> <password>` of a client, in bytes.
    [<Literal>]
    let tokenLengthMax = 16384

    /// The longest line of a file of passwords, its end not counted, in bytes.
    [<Literal>]
    let fileLineLengthMax = 255

    /// The users that a file of passwords may have.
    [<Literal>]
    let credentialCountMax = 8

    let internal stepOf (kind: AuthenticationStepKind) (reply: ReplyCode) (consumedBytes: int) : AuthenticationStep = {
        Kind = kind
        Reply = reply
        ConsumedBytes = consumedBytes
        WantedBytes = 0
        UserOffset = 0
        UserLength = 0
        PasswordOffset = 0
        PasswordLength = 0
    }

    let internal needMoreOf (wantedBytes: int) : AuthenticationStep = {
        stepOf AuthenticationStepKind.NeedMore ReplyCode.None 0 with
            WantedBytes = wantedBytes
    }

    let private answerOf (reply: ReplyCode) (consumedBytes: int) =
        stepOf AuthenticationStepKind.Answer reply consumedBytes

    /// The bytes that a `set` announces; -1 when the line is something else.
    let private announced (line: ReadOnlySpan<byte>) : int64 =
        let tokens =
            Span<int>(NativePtr.toVoidPtr (NativePtr.stackalloc<int>(2 * Tokens.countMax)), 2 * Tokens.countMax)

        let count = Tokens.split line tokens
        let mutable length = 0u

        if
            count >= 5
            && tokens[0] = 0
            && CommandName.packWhole (Tokens.item line tokens 0) = CommandName.Set
            && Digits.tryUInt32 (Tokens.item line tokens 4) &length
        then
            int64 length
        else
            -1L

    let private stepOfData (input: ReadOnlySpan<byte>) (start: int) (length: int) : AuthenticationStep =
        let finish = start + length
        let userLength = input.Slice(start, length).IndexOf space

        if input[finish] <> carriageReturn || input[finish + 1] <> newline then
            answerOf ReplyCode.BadTermination (finish + 2)
        elif userLength < 0 then
            answerOf ReplyCode.BadAuthenticationFormat (finish + 2)
        else
            {
                stepOf AuthenticationStepKind.Check ReplyCode.None (finish + 2) with
                    UserOffset = start
                    UserLength = userLength
                    PasswordOffset = start + userLength + 1
                    PasswordLength = length - userLength - 1
            }

    /// What to do with the bytes that a client has sent since it was last answered (memcached 1.6.45). O(bytes), no allocation.
    let step (input: ReadOnlySpan<byte>) : AuthenticationStep =
        let lineEnd = input.Slice(0, min input.Length (ProtocolLimits.lineLengthMax + 1)).IndexOf newline

        let consumed = lineEnd + 1

        if lineEnd < 0 && input.Length <= ProtocolLimits.lineLengthMax then
            needMoreOf 0
        elif lineEnd < 0 || consumed < lineBytesMin then
            stepOf AuthenticationStepKind.Close ReplyCode.None 0
        else
            match announced (CommandLine.textOf input lineEnd) with
            | -1L -> answerOf ReplyCode.Unauthenticated consumed
            | length when length > int64 tokenLengthMax -> answerOf ReplyCode.AuthenticationTooLong consumed
            | length when input.Length < consumed + int length + 2 -> needMoreOf (consumed + int length + 2)
            | length -> stepOfData input consumed (int length)

    /// The answer to a Check: `isKnown` says whether the user is there and has this password.
    let answer (isKnown: bool) : ReplyCode =
        if isKnown then
            ReplyCode.Stored
        else
            ReplyCode.AuthenticationFailure

    /// What a Check counts as.
    let counters (isKnown: bool) : Counters =
        if isKnown then
            Counters.AuthCmds
        else
            Counters.AuthCmds ||| Counters.AuthErrors

    /// Reads a file of passwords, or says which of its lines is wrong. A line ends with `\n`, one `\r` before it belongs to the end, and the last
    /// line may have none. Lines behind the eighth are counted and not looked at, as in memcached.
    let readFile (bytes: ReadOnlySpan<byte>) : Result<PasswordList, string> =
        let credentials = List<Credential>()
        let mutable position = 0
        let mutable lineNumber = 0
        let mutable wrong = ""

        while wrong = "" && position < bytes.Length do
            let rest = bytes.Slice position
            let found = rest.IndexOf newline
            let line = rest.Slice(0, (if found < 0 then rest.Length else found))
            position <- position + line.Length + 1
            lineNumber <- lineNumber + 1

            if lineNumber <= credentialCountMax then
                let line =
                    if line.EndsWith carriageReturn then
                        line.Slice(0, line.Length - 1)
                    else
                        line

                let userLength = line.IndexOf colon

                if userLength < 0 then
                    wrong <- $"line {lineNumber} is not user:password"
                elif line.Length > fileLineLengthMax then
                    wrong <- $"line {lineNumber} is longer than {fileLineLengthMax} bytes"
                else
                    credentials.Add {
                        User = line.Slice(0, userLength).ToArray()
                        Password = line.Slice(userLength + 1).ToArray()
                    }

        if wrong <> "" then
            Error wrong
        elif credentials.Count = 0 then
            Error "it has no line user:password"
        else
            Ok {
                Credentials = credentials.ToArray()
                IgnoredCount = max 0 (lineNumber - credentialCountMax)
            }
