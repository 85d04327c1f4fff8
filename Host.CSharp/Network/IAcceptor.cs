namespace LsmFs.Host;

/// <summary>Accepts connections on the server's listeners and gives them to its loops.</summary>
internal interface IAcceptor
{
    /// <summary>Starts to accept.</summary>
    void Start();

    /// <summary>There is room for a connection again. Any thread.</summary>
    void OnRoom();

    /// <summary>Accepts no more and closes the listeners.</summary>
    void Stop();
}
