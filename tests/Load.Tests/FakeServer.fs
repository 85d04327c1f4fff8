namespace LsmFs.Load.Tests

open System
open System.IO
open System.Net
open System.Net.Sockets
open System.Threading.Tasks
open LsmFs.Load

/// A loopback server that answers each line by a function, in pieces of a few bytes, so that replies arrive torn.
type FakeServer(answer: string -> byte[], pieceLengthBytes: int) =
    let listener = new TcpListener(IPAddress.Loopback, 0)

    let serve (client: TcpClient) =
        task {
            try
                use stream = client.GetStream()
                use reader = new StreamReader(stream, Text.Encoding.ASCII)
                client.NoDelay <- true
                let mutable isOpen = true

                while isOpen do
                    match reader.ReadLine() with
                    | null -> isOpen <- false
                    | line ->
                        for piece in Array.chunkBySize pieceLengthBytes (answer line) do
                            stream.Write(ReadOnlySpan piece)
            with :? IOException ->
                () // the generator hangs up when it has what it wants
        }
        :> Task

    let accept () =
        task {
            try
                while true do
                    let! client = listener.AcceptTcpClientAsync()
                    Task.Run(fun () -> serve client) |> ignore
            with
            | :? SocketException
            | :? ObjectDisposedException -> ()
        }

    do
        listener.Start()
        accept () |> ignore

    member _.Target = Target("fake", (listener.LocalEndpoint :?> IPEndPoint), Nullable())

    interface IDisposable with
        member _.Dispose() = listener.Stop()
