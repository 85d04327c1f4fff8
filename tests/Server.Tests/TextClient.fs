namespace LsmFs.Server.Tests

open System
open System.IO
open System.Net
open System.Net.Sockets
open System.Text
open System.Threading.Tasks

/// An item as a retrieval returns it. `Cas` is 0 where it was not asked for.
type Item = { Key: string; Flags: uint32; Value: byte[]; Cas: uint64 }

/// One connection that speaks memcached's text protocol. Bytes are Latin-1 where they are text. Every wait ends after half a minute
/// with an `IOException`. Not thread-safe, but that sending may go on while replies are read.
[<Sealed>]
type TextClient(port: int) =
    let client = new TcpClient(NoDelay = true)
    do client.Connect(IPAddress.Loopback, port)
    let stream = client.GetStream()
    do stream.ReadTimeout <- 30_000
    let buffer: byte[] = Array.zeroCreate 65536
    let mutable start = 0
    let mutable finish = 0

    // False at the end of the stream.
    let tryFill () =
        if start = finish then
            start <- 0
            finish <- stream.Read(buffer, 0, buffer.Length)

        finish > start

    let fill () =
        if not (tryFill ()) then
            raise (EndOfStreamException "the server closed the connection")

    /// `text` as bytes, one for each character.
    static member Bytes(text: string) : byte[] = Encoding.Latin1.GetBytes text

    member _.Send(bytes: byte[]) : unit = stream.Write(bytes, 0, bytes.Length)

    member client.Send(text: string) : unit = client.Send(TextClient.Bytes text)

    member _.SendAsync(bytes: ReadOnlyMemory<byte>) : Task = stream.WriteAsync(bytes).AsTask()

    /// The next line, without its end.
    member _.ReadLine() : string =
        let line = StringBuilder()
        let mutable isWhole = false

        while not isWhole do
            fill ()
            let rest = ReadOnlySpan<byte>(buffer, start, finish - start)
            let newline = rest.IndexOf(byte '\n')
            let part = if newline < 0 then rest else rest.Slice(0, newline)
            line.Append(Encoding.Latin1.GetString part) |> ignore
            isWhole <- newline >= 0
            start <- start + part.Length + (if isWhole then 1 else 0)

        line.ToString().TrimEnd '\r'

    /// The next `length` bytes.
    member _.ReadBytes(length: int) : byte[] =
        let bytes: byte[] = Array.zeroCreate length
        let mutable filled = 0

        while filled < length do
            fill ()
            let count = min (finish - start) (length - filled)
            Buffer.BlockCopy(buffer, start, bytes, filled, count)
            start <- start + count
            filled <- filled + count

        bytes

    /// Reads until the server closes, in whatever way; what it sent before.
    member _.ReadToEnd() : string =
        let text = StringBuilder()

        let isReset (error: IOException) =
            match error.InnerException with
            | :? SocketException as cause -> cause.SocketErrorCode <> SocketError.TimedOut
            | _ -> false

        let tryFillUntilReset () =
            try
                tryFill ()
            with :? IOException as error when isReset error ->
                false

        while tryFillUntilReset () do
            text.Append(Encoding.Latin1.GetString(buffer, start, finish - start)) |> ignore
            start <- finish

        text.ToString()

    /// One command that is answered by one line.
    member client.Ask(command: string) : string =
        client.Send(command + "\r\n")
        client.ReadLine()

    /// The items of a retrieval's answer, up to its END.
    member client.ReadItems() : Item list =
        let rec read (items: Item list) =
            let line = client.ReadLine()

            match line.Split ' ' with
            | [| "END" |] -> List.rev items
            | words when words.Length >= 4 && words[0] = "VALUE" ->
                let value = client.ReadBytes(int words[3])

                if client.ReadLine() <> "" then
                    raise (InvalidDataException $"the value of {line} does not end where it should")

                let item = {
                    Key = words[1]
                    Flags = uint32 words[2]
                    Value = value
                    Cas = (if words.Length > 4 then uint64 words[4] else 0UL)
                }

                read (item :: items)
            | _ -> raise (InvalidDataException $"not a line of a retrieval: {line}")

        read []

    /// `gets` of one key.
    member client.TryGet(key: string) : Item option =
        client.Send $"gets {key}\r\n"
        client.ReadItems() |> List.tryExactlyOne

    /// The value of a key as text.
    member client.TryGetText(key: string) : string option =
        client.TryGet key |> Option.map (fun item -> Encoding.Latin1.GetString item.Value)

    /// A command with a value, such as `set key 0 0`; the answer.
    member client.Store(head: string, value: byte[]) : string =
        client.Send(Array.concat [ TextClient.Bytes $"{head} {value.Length}\r\n"; value; "\r\n"B ])
        client.ReadLine()

    member client.Store(head: string, value: string) : string = client.Store(head, TextClient.Bytes value)

    interface IDisposable with
        member _.Dispose() = client.Dispose()
