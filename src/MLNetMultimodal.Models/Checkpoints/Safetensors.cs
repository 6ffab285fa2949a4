using System.Buffers;
using System.Buffers.Binary;
using System.Collections;
using System.IO.MemoryMappedFiles;
using System.Text;
using System.Text.Json;

namespace MLNetMultimodal.Models.Checkpoints;

/// <summary>A safetensors file: 8 bytes header length, a JSON header, then raw little-endian data. Opened files are
/// memory-mapped;
/// tensors are windows into the map and live as long as this object.</summary>
public sealed class Safetensors : IReadOnlyDictionary<string, TensorData>, IDisposable
{
    /// <summary>Longest header that is read, as in the reference implementation: 100 MB.</summary>
    public const int MaxHeaderBytes = 100_000_000;

    readonly IReadOnlyDictionary<string, TensorData> _tensors;
    readonly MappedFile? _map;

    Safetensors(IReadOnlyDictionary<string, TensorData> tensors, IReadOnlyDictionary<string, string> metadata, MappedFile? map) =>
        (_tensors, Metadata, _map) = (tensors, metadata, map);

    /// <summary>The texts under <c>__metadata__</c>; empty where there are none.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Opens a file by memory map; nothing is copied.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is cut off, or its header is not sound: the message names the
    /// tensor.</exception>
    public static Safetensors Open(string path)
    {
        var info = new FileInfo(path);
        if (info.ResolveLinkTarget(returnFinalTarget: true) is FileInfo target) info = target; // Length of a link is that of its path
        if (!info.Exists) throw new FileNotFoundException($"the weights '{path}' do not exist.", path);
        if (info.Length < 8) throw new InvalidDataException($"'{path}' is not a safetensors file: it has {info.Length} bytes, the header alone takes more.");
        var map = new MappedFile(info);
        try
        {
            return Read(path, info.Length, map.Memory, map);
        }
        catch
        {
            map.Dispose();
            throw;
        }
    }

    /// <summary>Reads a file that is in memory; tensors are windows into <paramref name="content"/>.</summary>
    /// <param name="content">The whole file.</param>
    /// <param name="name">A name for messages.</param>
    /// <exception cref="InvalidDataException">The content is cut off, or its header is not sound.</exception>
    public static Safetensors Parse(ReadOnlyMemory<byte> content, string name) =>
        content.Length >= 8 ? Read(name, content.Length, (offset, count) => content.Slice((int)offset, count), null)
            : throw new InvalidDataException($"'{name}' is not a safetensors file: it has {content.Length} bytes, the header alone takes more.");

    static Safetensors Read(string name, long length, Func<long, int, ReadOnlyMemory<byte>> window, MappedFile? map)
    {
        ulong headerLength = BinaryPrimitives.ReadUInt64LittleEndian(window(0, 8).Span);
        if (headerLength > MaxHeaderBytes || (long)headerLength > length - 8)
            throw new InvalidDataException($"'{name}' is not a sound safetensors file: its header claims {headerLength} bytes, the file has {length}.");
        long dataLength = length - 8 - (long)headerLength;
        try
        {
            using JsonDocument document = JsonDocument.Parse(window(8, (int)headerLength), new() { MaxDepth = 8 });
            if (document.RootElement.ValueKind != JsonValueKind.Object) throw new InvalidDataException($"'{name}': the header must be a JSON object.");
            var tensors = new Dictionary<string, TensorData>(StringComparer.Ordinal);
            var metadata = new Dictionary<string, string>(StringComparer.Ordinal);
            var windows = new List<(long Begin, long End, string Tensor)>();
            foreach (JsonProperty entry in document.RootElement.EnumerateObject())
            {
                if (entry.Name == "__metadata__")
                {
                    foreach (JsonProperty text in entry.Value.EnumerateObject()) metadata[text.Name] = text.Value.GetString() ?? "";
                    continue;
                }
                var (type, shape, begin, end) = ReadEntry(name, entry, dataLength);
                windows.Add((begin, end, entry.Name));
                var data = new TensorData(type, shape, end == begin ? default : window(8 + (long)headerLength + begin, (int)(end - begin)));
                if (!tensors.TryAdd(entry.Name, data)) throw new InvalidDataException($"'{name}': the tensor {entry.Name} stands twice in the header.");
            }
            CheckWindows(name, windows, dataLength);
            return new(tensors, metadata, map);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException or KeyNotFoundException or OverflowException)
        {
            throw new InvalidDataException($"'{name}': the safetensors header cannot be read: {e.Message}", e);
        }
    }

    static (DType Type, long[] Shape, long Begin, long End) ReadEntry(string name, JsonProperty entry, long dataLength)
    {
        string typeName = entry.Value.GetProperty("dtype").GetString() ?? "";
        if (!Enum.TryParse(typeName, out DType type) || !Enum.IsDefined(type) || char.IsDigit(typeName[0]))
            throw new InvalidDataException($"'{name}': tensor {entry.Name} has the element type '{typeName}'; read are {string.Join(", ", Enum.GetNames<DType>())}.");
        JsonElement dims = entry.Value.GetProperty("shape"), offsets = entry.Value.GetProperty("data_offsets");
        if (dims.GetArrayLength() > 16 || offsets.GetArrayLength() != 2)
            throw new InvalidDataException($"'{name}': tensor {entry.Name} must have at most 16 dimensions and two data_offsets.");
        long[] shape = [.. dims.EnumerateArray().Select(d => d.GetInt64())];
        long begin = offsets[0].GetInt64(), end = offsets[1].GetInt64();
        if (shape.Any(d => d < 0)) throw new InvalidDataException($"'{name}': tensor {entry.Name} has the negative shape [{string.Join(", ", shape)}].");
        if (begin < 0 || end < begin || end > dataLength)
            throw new InvalidDataException($"'{name}': tensor {entry.Name} has the data_offsets {begin} to {end}, but the file holds {dataLength} bytes of data; is it cut off?");
        long wanted = shape.Contains(0) ? 0 : shape.Aggregate((long)TensorData.SizeOf(type), (n, d) => checked(n * d));
        if (end - begin != wanted)
            throw new InvalidDataException($"'{name}': tensor {entry.Name} {type} [{string.Join(", ", shape)}] takes {wanted} bytes, but its data_offsets span {end - begin}.");
        if (wanted > int.MaxValue) throw new InvalidDataException($"'{name}': tensor {entry.Name} has {wanted} bytes; at most {int.MaxValue} are read.");
        return (type, shape, begin, end);
    }

    static void CheckWindows(string name, List<(long Begin, long End, string Tensor)> windows, long dataLength)
    {
        windows.Sort();
        long at = 0;
        foreach (var (begin, end, tensor) in windows)
        {
            if (begin < at) throw new InvalidDataException($"'{name}': the data of tensor {tensor} overlaps that of another.");
            if (begin > at) throw new InvalidDataException($"'{name}': {begin - at} bytes before the data of tensor {tensor} belong to no tensor.");
            at = end;
        }
        if (at != dataLength) throw new InvalidDataException($"'{name}': {dataLength - at} bytes at the end belong to no tensor.");
    }

    /// <summary>Writes a file: to a temporary name beside it, flushed to the disk, then renamed.</summary>
    /// <param name="path">The file; replaced where it exists.</param>
    /// <param name="tensors">Written in ordinal order of names, wider types first.</param>
    /// <param name="metadata">Texts for <c>__metadata__</c>.</param>
    public static void Write(string path, IEnumerable<KeyValuePair<string, TensorData>> tensors, IReadOnlyDictionary<string, string>? metadata = null) =>
        AtomicFile.Write(path, stream => Write(stream, tensors, metadata));

    /// <summary>Writes the format to a stream.</summary>
    /// <param name="stream">Where to.</param>
    /// <param name="tensors">Written in ordinal order of names, wider types first.</param>
    /// <param name="metadata">Texts for <c>__metadata__</c>.</param>
    public static void Write(Stream stream, IEnumerable<KeyValuePair<string, TensorData>> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        KeyValuePair<string, TensorData>[] ordered =
            [.. tensors.OrderByDescending(t => TensorData.SizeOf(t.Value.Type)).ThenBy(t => t.Key, StringComparer.Ordinal)];
        var header = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(header))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                json.WriteStartObject("__metadata__");
                foreach (var (key, value) in metadata) json.WriteString(key, value);
                json.WriteEndObject();
            }
            long offset = 0;
            foreach (var (name, tensor) in ordered)
            {
                json.WriteStartObject(name);
                json.WriteString("dtype", tensor.Type.ToString());
                json.WriteStartArray("shape");
                foreach (long dim in tensor.Shape) json.WriteNumberValue(dim);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset += tensor.Bytes.Length);
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        int padding = (8 - header.WrittenCount % 8) % 8; // spaces, so that the data is aligned
        Span<byte> length = stackalloc byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, header.WrittenCount + padding);
        stream.Write(length);
        stream.Write(header.WrittenSpan);
        stream.Write(Encoding.ASCII.GetBytes(new string(' ', padding)));
        foreach (var (_, tensor) in ordered) stream.Write(tensor.Bytes.Span);
    }

    /// <inheritdoc/>
    public TensorData this[string key] => _tensors[key];

    /// <inheritdoc/>
    public IEnumerable<string> Keys => _tensors.Keys;

    /// <inheritdoc/>
    public IEnumerable<TensorData> Values => _tensors.Values;

    /// <inheritdoc/>
    public int Count => _tensors.Count;

    /// <inheritdoc/>
    public bool ContainsKey(string key) => _tensors.ContainsKey(key);

    /// <inheritdoc/>
    public bool TryGetValue(string key, [System.Diagnostics.CodeAnalysis.MaybeNullWhen(false)] out TensorData value) => _tensors.TryGetValue(key, out value);

    /// <inheritdoc/>
    public IEnumerator<KeyValuePair<string, TensorData>> GetEnumerator() => _tensors.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>Unmaps the file; its tensors must not be used afterwards.</summary>
    public void Dispose() => _map?.Dispose();
}

/// <summary>A read-only memory map of which windows are handed out as memory.</summary>
sealed unsafe class MappedFile : IDisposable
{
    readonly MemoryMappedFile _file;
    readonly MemoryMappedViewAccessor _view;
    readonly byte* _start;
    readonly (long Length, DateTime Written) _identity;
    bool _disposed;

    public MappedFile(FileInfo file)
    {
        (Path, _identity) = (file.FullName, Identity(file));
        _file = MemoryMappedFile.CreateFromFile(Path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
        _view = _file.CreateViewAccessor(0, _identity.Length, MemoryMappedFileAccess.Read);
        byte* start = null;
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
        _start = start + _view.PointerOffset;
    }

    public string Path { get; }

    /// <summary>True while the file at <see cref="Path"/> is the one that was mapped.</summary>
    public bool IsOnDisk => new FileInfo(Path) is { Exists: true } file && Identity(file) == _identity;

    static (long, DateTime) Identity(FileInfo file) => (file.Length, file.LastWriteTimeUtc);

    public ReadOnlyMemory<byte> Memory(long offset, int count) => new Window(this, offset, count).Memory;

    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _file.Dispose();
    }

    internal sealed class Window(MappedFile file, long offset, int count) : MemoryManager<byte>
    {
        public MappedFile File => file;

        public long Offset => offset;

        byte* Start => file._disposed ? throw new ObjectDisposedException(nameof(Safetensors), "the weights file was closed.") : file._start + offset;

        public override Span<byte> GetSpan() => new(Start, count);

        public override MemoryHandle Pin(int elementIndex = 0) => new(Start + elementIndex);

        public override void Unpin() { }

        protected override void Dispose(bool disposing) { }
    }
}
