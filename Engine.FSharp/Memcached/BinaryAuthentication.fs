namespace LsmFs.Engine

// Who may speak the binary protocol: SASL with its one mechanism that needs no conversation, PLAIN (RFC 4616), and the users of the same file of passwords
// as in the text protocol. What a client sends is
//
//   sasl auth, key `PLAIN`, value   [<authorization identity>] 00 <user> 00 <password>
//
// and the identity that it wants to act for says nothing here.
//
// Invariants
//   1. However the bytes of a client are cut into calls, the steps other than NeedMore are the same: a step is a function of the bytes not yet consumed.
//   2. A client that has not authenticated has at most a header, a key and `Authentication.tokenLengthMax` bytes buffered for it.
//   3. Only a Check whose user and password are in the file ends it: nothing that a stranger sends is carried out.
//   4. A step whose reply is not none begins at the header of its packet, from which the reply takes opcode and opaque.

open System

/// Deciding what a client of the binary protocol is told that has not authenticated.
[<RequireQualifiedAccess>]
module BinaryAuthentication =

    // A byte string literal is a new array each time it is evaluated.
    let private plain = "PLAIN"B

    let private closeWith (reply: ReplyCode) =
        Authentication.stepOf AuthenticationStepKind.AnswerAndClose reply BinaryFormat.headerLength

    /// A whole packet of `sasl auth`: its value from `start` to `finish`.
    let private check (input: ReadOnlySpan<byte>) (mechanism: ReadOnlySpan<byte>) (start: int) (finish: int) =
        let value = input.Slice(start, finish - start)
        let userStart = 1 + value.IndexOf 0uy
        let userLength = value.Slice(userStart).IndexOf 0uy

        if mechanism.SequenceEqual(ReadOnlySpan<byte> plain) && userStart > 0 && userLength >= 0 then
            {
                Authentication.stepOf AuthenticationStepKind.Check ReplyCode.None finish with
                    UserOffset = start + userStart
                    UserLength = userLength
                    PasswordOffset = start + userStart + userLength + 1
                    PasswordLength = value.Length - userStart - userLength - 1
            }
        else
            Authentication.stepOf AuthenticationStepKind.Failure (Authentication.answer false) finish

    let private stepOfPacket (input: ReadOnlySpan<byte>) : AuthenticationStep =
        let opcode = BinaryFormat.opcode input
        let keyLength = BinaryFormat.keyLength input
        let extrasLength = BinaryFormat.extrasLength input
        let announced = BinaryFormat.bodyLength input
        let valueLength = int64 announced - int64 extrasLength - int64 keyLength

        if valueLength < 0L then
            closeWith ReplyCode.Error
        else
            match opcode with
            | BinaryOpcode.Version
            | BinaryOpcode.SaslMechanisms when announced > 0u -> closeWith ReplyCode.BadCommandLineFormat
            | BinaryOpcode.Version ->
                Authentication.stepOf AuthenticationStepKind.Version ReplyCode.None BinaryFormat.headerLength
            | BinaryOpcode.SaslMechanisms ->
                Authentication.stepOf AuthenticationStepKind.Answer ReplyCode.Ok BinaryFormat.headerLength
            | BinaryOpcode.SaslAuth
            | BinaryOpcode.SaslStep when
                extrasLength > 0
                || keyLength = 0
                || keyLength > ProtocolLimits.keyLengthMax
                || valueLength > int64 Authentication.tokenLengthMax
                ->
                closeWith ReplyCode.BadCommandLineFormat
            | BinaryOpcode.SaslAuth
            | BinaryOpcode.SaslStep ->
                let keyEnd = BinaryFormat.headerLength + keyLength
                let finish = keyEnd + int valueLength

                if input.Length < finish then
                    Authentication.needMoreOf finish
                elif opcode = BinaryOpcode.SaslStep then
                    // PLAIN has a single step.
                    Authentication.stepOf AuthenticationStepKind.Failure (Authentication.answer false) finish
                else
                    check input (input.Slice(BinaryFormat.headerLength, keyLength)) keyEnd finish
            | _ -> closeWith (Authentication.answer false)

    /// What to do with the bytes that a client has sent since it was last answered. O(bytes), no allocation.
    let step (input: ReadOnlySpan<byte>) : AuthenticationStep =
        if input.IsEmpty then
            Authentication.needMoreOf 0
        elif input[0] <> BindingProtocol.binaryMagic then
            Authentication.stepOf AuthenticationStepKind.Close ReplyCode.None 0
        elif input.Length < BinaryFormat.headerLength then
            Authentication.needMoreOf BinaryFormat.headerLength
        else
            stepOfPacket input
