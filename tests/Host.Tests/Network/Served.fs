/// A server with a store of its own, in this process, and clients that speak to it in raw bytes.
module LsmFs.Host.Tests.Served

open System
open System.IO
open System.Net
open System.Net.Sockets
open System.Text
open System.Threading
open Expecto
open Microsoft.Extensions.Logging.Abstractions
open LsmFs.Engine
open LsmFs.Host

let ascii (text: string) : byte[] = Encoding.ASCII.GetBytes text

let text (bytes: byte[]) : string = Encoding.ASCII.GetString bytes

/// What a test runs under.
type Setting = {
    Transport: Transport
    Durability: Durability
    ThreadCount: int
    ConnectionCountMax: int
    ListenPoints: ListenPoint list
    RefusesAtLimit: bool
    IdleTimeoutSeconds: int
    RequestCountMaxPerTurn: int
    Clock: TimeProvider
    /// A file of passwords; none: nobody has to authenticate.
    PasswordPath: string option
    /// What the listeners speak TLS with; none: they do not.
    Tls: TlsContext option
}

let private transports = [
    if OperatingSystem.IsLinux() then
        Transport.Epoll
    Transport.Sockets
]

let private setting transport durability = {
    Transport = transport
    Durability = durability
    ThreadCount = 2
    ConnectionCountMax = 4000
    ListenPoints = [ ListenPoint(EndPoint = IPEndPoint(IPAddress.Loopback, 0)) ]
    RefusesAtLimit = true
    IdleTimeoutSeconds = 0
    RequestCountMaxPerTurn = 2048
    Clock = TimeProvider.System
    PasswordPath = None
    Tls = None
}

/// The test on every transport, commits completing within the turn (`Memory`) and on another thread (`Sync`).
let everywhere (name: string) (body: Setting -> unit) : Test =
    testList name [
        for transport in transports do
            for durability in [ Durability.Memory; Durability.Sync ] do
                testCase $"{transport}, {durability}" (fun () -> body (setting transport durability))
    ]

/// The test on every transport, for what commits have no part in.
let onTransports (name: string) (body: Setting -> unit) : Test =
    testList name [
        for transport in transports do
            testCase $"{transport}" (fun () -> body (setting transport Durability.Memory))
    ]

/// A clock that the test sets.
type TestClock() =
    inherit TimeProvider()
    let mutable seconds = 1000L
    override _.TimestampFrequency = 1L
    override _.GetTimestamp() = Volatile.Read &seconds
    member _.Advance(count: int64) = Interlocked.Add(&seconds, count) |> ignore

let unrestricted: Restrictions = { NoFlush = false; NoDump = false }

/// A server on a store.
let start (setting: Setting) (restrictions: Restrictions) (store: Store) : Server =
    Server.Start(
        ServerOptions(
            ListenPoints = Array.ofList setting.ListenPoints,
            ThreadCount = setting.ThreadCount,
            ConnectionCountMax = setting.ConnectionCountMax,
            RefusesAtLimit = setting.RefusesAtLimit,
            IdleTimeoutSeconds = setting.IdleTimeoutSeconds,
            RequestCountMaxPerTurn = setting.RequestCountMaxPerTurn,
            Clock = setting.Clock,
            ValueLengthMax = ProtocolLimits.valueLengthMaxDefault,
            Version = "1.2.3",
            Restrictions = restrictions,
            Transport = setting.Transport,
            Passwords =
                (match setting.PasswordPath with
                 | Some path -> PasswordFile(path, NullLogger.Instance)
                 | None -> null),
            Tls = Option.toObj setting.Tls
        ),
        store,
        NullLogger.Instance
    )

/// A store and a server on a port that the system chose, with what else it is told; disposing stops both and removes the folder.
type Served(setting: Setting, restrictions: Restrictions) =
    let folder = Directory.CreateTempSubdirectory("lsmfs-host-tests-").FullName

    let store =
        Store.Open(
            StoreOptions(DataFolder = folder, Durability = setting.Durability, MemoryBudgetBytes = 64L * 1024L * 1024L),
            NullLogger.Instance
        )

    let server = start setting restrictions store

    new(setting: Setting) = new Served(setting, unrestricted)

    member _.Server = server
    member _.Store = store
    member _.Folder = folder
    member _.Port = server.EndPoints[0].Port

    /// Waits until the server has this many connections.
    member _.AwaitConnectionCount(count: int) =
        let isThere () = server.ConnectionCount = count

        Expect.isTrue
            (SpinWait.SpinUntil(isThere, 30_000))
            $"the server should have %d{count} connections, has %d{server.ConnectionCount}"

    interface IDisposable with
        member _.Dispose() =
            server.StopAsync().Wait()
            store.Dispose()
            Directory.Delete(folder, true)

/// A client. Reading gives up after ten seconds without a byte.
type Client(endPoint: EndPoint) =
    let isTcp = endPoint :? IPEndPoint

    let socket =
        new Socket(
            endPoint.AddressFamily,
            SocketType.Stream,
            (if isTcp then ProtocolType.Tcp else ProtocolType.Unspecified)
        )

    do
        if isTcp then
            socket.NoDelay <- true

        socket.ReceiveTimeout <- 30_000
        socket.SendTimeout <- 30_000
        socket.Connect endPoint

    new(port: int) = new Client(IPEndPoint(IPAddress.Loopback, port))

    member _.Socket = socket

    member _.Send(bytes: byte[]) =
        let mutable sent = 0

        while sent < bytes.Length do
            sent <- sent + socket.Send(ReadOnlySpan<byte>(bytes).Slice sent)

    member client.Send(request: string) = client.Send(ascii request)

    /// Exactly this many bytes, or fewer when the server closes before.
    member _.Receive(count: int) : byte[] =
        let bytes: byte[] = Array.zeroCreate count
        let mutable filled = 0
        let mutable isOpen = true

        while isOpen && filled < count do
            let received = socket.Receive(Span<byte>(bytes).Slice filled)
            filled <- filled + received
            isOpen <- received > 0

        if isOpen then bytes else Array.sub bytes 0 filled

    /// Everything until the server closes.
    member _.ReceiveToEnd() : byte[] =
        use all = new MemoryStream()
        let bytes: byte[] = Array.zeroCreate 65536
        let mutable received = socket.Receive bytes

        while received > 0 do
            all.Write(bytes, 0, received)
            received <- socket.Receive bytes

        all.ToArray()

    /// Sends a request and expects exactly this reply.
    member client.Expect(request: string, reply: string) =
        client.Send request
        Expect.equal (text (client.Receive reply.Length)) reply $"reply to %s{request}"

    interface IDisposable with
        member _.Dispose() = socket.Dispose()

/// Bytes that this process holds, after a collection.
let residentBytes () : int64 =
    GC.Collect()
    GC.WaitForPendingFinalizers()
    GC.Collect()
    Environment.WorkingSet
