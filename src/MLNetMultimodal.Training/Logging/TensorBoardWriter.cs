using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using System.Text;
using Google.Protobuf;
using MLNetMultimodal.Training.Logging;

namespace MLNetMultimodal.Training;

/// <summary>Writes scalars and texts for TensorBoard. Each entry reaches the file at once. Thread-safe.</summary>
/// <remarks>An event file is a row of records: length, checksum of the length, an Event message, checksum of the
/// message.</remarks>
sealed class TensorBoardWriter : IDisposable
{
    const int TextType = 7; // DT_STRING
    readonly Lock _lock = new();
    readonly FileStream _file;

    /// <summary>Begins a new event file.</summary>
    /// <param name="folder">The run's folder, made where it is missing; TensorBoard shows one curve per folder.</param>
    public TensorBoardWriter(string folder)
    {
        Directory.CreateDirectory(folder);
        double now = WallTime();
        for (long second = (long)now; ; second++) // a second run within one second gets the next name
        {
            Path = System.IO.Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"events.out.tfevents.{second:d10}.{Environment.MachineName}"));
            if (File.Exists(Path)) continue;
            _file = new(Path, FileMode.CreateNew, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete);
            break;
        }
        Write(new() { WallTime = now, FileVersion = "brain.Event:2" });
    }

    /// <summary>The event file.</summary>
    public string Path { get; }

    /// <summary>Adds a point to a curve.</summary>
    /// <param name="tag">The curve's name; a slash groups, as in <c>train/loss</c>.</param>
    /// <param name="value">Also one that is not finite, which TensorBoard marks.</param>
    /// <param name="step">At least 0.</param>
    /// <param name="wallTime">Seconds since 1970; null for now.</param>
    public void Scalar(string tag, double value, long step, double? wallTime = null) =>
        Write(new() { WallTime = wallTime ?? WallTime(), Step = step, Summary = new() { Value = { new SummaryValue { Tag = tag, SimpleValue = (float)value } } } });

    /// <summary>Adds a text, shown as Markdown.</summary>
    /// <param name="tag">Its name.</param>
    /// <param name="text">The text.</param>
    /// <param name="step">At least 0.</param>
    public void Text(string tag, string text, long step = 0)
    {
        var tensor = new StringTensor { Dtype = TextType, TensorShape = new() { Dim = { new Dimension { Size = 1 } } }, StringVal = { ByteString.CopyFromUtf8(text) } };
        var value = new SummaryValue { Tag = tag, Tensor = tensor, Metadata = new() { PluginData = new() { PluginName = "text" } } };
        Write(new() { WallTime = WallTime(), Step = step, Summary = new() { Value = { value } } });
    }

    /// <summary>Adds the options of a training as a table.</summary>
    /// <param name="options">Values by name.</param>
    public void Hyperparameters(IReadOnlyDictionary<string, string> options)
    {
        var table = new StringBuilder("| option | value |\n| --- | --- |\n");
        foreach (var (name, value) in options.OrderBy(o => o.Key, StringComparer.Ordinal)) table.Append(CultureInfo.InvariantCulture, $"| {Cell(name)} | {Cell(value)} |\n");
        Text("hparams", table.ToString());

        static string Cell(string text) => text.Replace("|", "\\|", StringComparison.Ordinal).ReplaceLineEndings(" ");
    }

    void Write(Event entry)
    {
        int length = entry.CalculateSize();
        var record = new byte[12 + length + 4];
        BinaryPrimitives.WriteInt64LittleEndian(record, length);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(8), MaskedCrc(record.AsSpan(0, 8)));
        entry.WriteTo(record.AsSpan(12, length));
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(12 + length), MaskedCrc(record.AsSpan(12, length)));
        lock (_lock)
        {
            _file.Write(record);
            _file.Flush();
        }
    }

    /// <summary>The checksum of the format: rotated and moved, so that data that holds checksums keeps telling ones.</summary>
    static uint MaskedCrc(ReadOnlySpan<byte> data) => BitOperations.RotateRight(Crc32C(data), 15) + 0xa282ead8;

    /// <summary>The cyclic redundancy check of Castagnoli et al. 1993, which System.IO.Hashing lacks.</summary>
    internal static uint Crc32C(ReadOnlySpan<byte> data)
    {
        uint crc = ~0u;
        for (; data.Length >= 8; data = data[8..]) crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(data));
        foreach (byte b in data) crc = BitOperations.Crc32C(crc, b);
        return ~crc;
    }

    static double WallTime() => (DateTime.UtcNow - DateTime.UnixEpoch).TotalSeconds;

    /// <summary>Closes the file.</summary>
    public void Dispose() => _file.Dispose();
}
