namespace LsmFs.Engine

// The answer to `stats conns`, by connection; a listener has no listen_addr:
//
//   STAT <id>:addr tcp:<address>:<port>         where it comes from; tcp6:[<address>]:<port>, or ?:<AF 0> through a unix domain socket
//   STAT <id>:listen_addr tcp:<address>:<port>  where it came in; or unix:<path>
//   STAT <id>:state conn_read
//   STAT <id>:secs_since_last_cmd <seconds>

open System
open System.Globalization

/// What is true of a connection at a moment.
[<Flags>]
type ConnectionFacts =
    | None = 0uy
    /// Something has come from the peer.
    | HasSpoken = 1uy
    /// The beginning of a command is there whose value has not come in full.
    | AwaitsValue = 2uy
    /// It has commands or an answer to go on with.
    | HasWork = 4uy
    /// It waits for a commit, or for the disk.
    | AwaitsStore = 8uy
    /// It is sent a list of keys.
    | IsListing = 16uy
    /// The peer has not taken all of its replies.
    | OwesReplies = 32uy
    /// It ends as soon as nothing is owed.
    | IsClosing = 64uy
    /// It is no connection, but accepts them.
    | IsListener = 128uy

/// Writing the answer to `stats conns`.
[<RequireQualifiedAccess>]
module ConnectionListing =

    let inline private has (fact: ConnectionFacts) (facts: ConnectionFacts) = facts &&& fact <> ConnectionFacts.None

    /// memcached's name for the state of a connection: what it waits for comes before what it could do then.
    let state (facts: ConnectionFacts) : string =
        if facts |> has ConnectionFacts.IsListener then
            "conn_listening"
        elif facts |> has ConnectionFacts.OwesReplies then
            "conn_mwrite"
        elif facts |> has ConnectionFacts.IsListing then
            "conn_watch"
        elif facts |> has ConnectionFacts.AwaitsStore then
            "conn_io_queue"
        elif facts |> has ConnectionFacts.IsClosing then
            "conn_closing"
        elif facts |> has ConnectionFacts.HasWork then
            "conn_parse_cmd"
        elif facts |> has ConnectionFacts.AwaitsValue then
            "conn_nread"
        elif facts |> has ConnectionFacts.HasSpoken then
            "conn_read"
        else
            "conn_new_cmd"

    /// An address of TCP as text, such as `127.0.0.1` or `fe80::1%3`, and its port. The scope is left out.
    let tcpAddress (address: string) (port: int) : string =
        if address.Contains ':' then
            $"tcp6:[%s{address.Split('%')[0]}]:%d{port}"
        else
            $"tcp:%s{address}:%d{port}"

    /// A unix domain socket that is listened on.
    let unixAddress (path: string) : string = "unix:" + path

    /// The address of a peer that has none, or that was gone before it could be asked.
    [<Literal>]
    let noAddress = "?:<AF 0>"

    let private append (buffer: ByteBuffer) (id: int64) (name: string) (value: string) : unit =
        let name = id.ToString CultureInfo.InvariantCulture + name
        Reply.writeStat (buffer.Reserve(Reply.statLength name value)) name value |> ignore

    /// Appends the lines of a connection that came in at `listenAddress`, or of a listener, which has none.
    let appendLines
        (buffer: ByteBuffer)
        (id: int64)
        (address: string)
        (listenAddress: string voption)
        (facts: ConnectionFacts)
        (seconds: int64)
        : unit =
        append buffer id ":addr" address

        match listenAddress with
        | ValueSome listenAddress -> append buffer id ":listen_addr" listenAddress
        | ValueNone -> ()

        append buffer id ":state" (state facts)
        append buffer id ":secs_since_last_cmd" ((max 0L seconds).ToString CultureInfo.InvariantCulture)
