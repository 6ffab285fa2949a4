using System.Buffers.Binary;
using System.Text;

namespace MLNetMultimodal.Media.Audio;

// The chunks of an IFF or RIFF file after its first 12 bytes: a name of four letters, a length of 32 bits, content, and a
// filling byte after an odd length (some writers leave it out).
sealed class ChunkStream(Stream stream, string name, string kind, bool bigEndian)
{
    public const int StartLength = 12;
    const int MaxWholeBytes = 1 << 16; // no header chunk comes near it

    bool _mayBeFilled;

    public Stream Stream => stream;

    // Bytes from the beginning of the file to here.
    public long Consumed { get; private set; } = StartLength;

    // Bytes from here to the end, where the stream knows.
    public long? Remaining => stream.CanSeek ? Math.Max(0, stream.Length - stream.Position) : null;

    // The next chunk's name and length; null at the end.
    public (string Id, long Size)? Next(CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        Span<byte> header = stackalloc byte[8];
        int kept = 0;
        if (_mayBeFilled && stream.ReadAtLeast(header[..1], 1, throwOnEndOfStream: false) == 1 && header[0] != 0)
            kept = 1; // no filling after all
        Consumed += _mayBeFilled && kept == 0 ? 1 : 0;
        _mayBeFilled = false;
        int got = kept + stream.ReadAtLeast(header[kept..], 8 - kept, throwOnEndOfStream: false);
        Consumed += got;
        if (got < 8) // less than a header is what careless writers leave behind the last chunk
            return null;
        uint size = bigEndian ? BinaryPrimitives.ReadUInt32BigEndian(header[4..])
            : BinaryPrimitives.ReadUInt32LittleEndian(header[4..]);
        return (Encoding.Latin1.GetString(header[..4]), size);
    }

    public byte[] ReadWhole(string id, long size, int atLeast)
    {
        if (size < atLeast || size > MaxWholeBytes)
            throw new InvalidDataException($"'{name}' is a damaged {kind} file: its chunk '{id}' claims {size} bytes.");
        byte[] content = new byte[size];
        if (stream.ReadAtLeast(content, content.Length, throwOnEndOfStream: false) < content.Length)
            throw CutOff(id);
        Consumed += size;
        _mayBeFilled = size % 2 != 0;
        return content;
    }

    public void Skip(string id, long size)
    {
        if (Remaining is { } rest)
        {
            if (size > rest)
                throw CutOff(id);
            stream.Seek(size, SeekOrigin.Current);
        }
        else
        {
            byte[] ignored = new byte[Math.Min(size, MaxWholeBytes)];
            for (long left = size; left > 0;)
            {
                int got = stream.Read(ignored, 0, (int)Math.Min(left, ignored.Length));
                left -= got > 0 ? got : throw CutOff(id);
            }
        }
        Consumed += size;
        _mayBeFilled = size % 2 != 0;
    }

    InvalidDataException CutOff(string id) => new($"'{name}' is a damaged {kind} file: it ends inside its chunk '{id}'.");
}
