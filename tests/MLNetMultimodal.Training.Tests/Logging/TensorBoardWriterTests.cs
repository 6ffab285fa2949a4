using System.Buffers.Binary;
using System.Text;

namespace MLNetMultimodal.Training.Tests;

public sealed class TensorBoardWriterTests : IDisposable
{
    readonly string _folder = Directory.CreateTempSubdirectory("tensorboard-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void The_checksum_has_its_published_value()
    {
        Assert.Equal(0xE3069283u, TensorBoardWriter.Crc32C("123456789"u8));
        Assert.Equal(0u, TensorBoardWriter.Crc32C([]));
    }

    [Fact]
    public void Scalars_are_read_back()
    {
        string path;
        using (var writer = new TensorBoardWriter(Path.Combine(_folder, "run")))
        {
            path = writer.Path;
            writer.Scalar("train/loss", 2.5, 3, wallTime: 1e9);
            writer.Scalar("train/loss", double.NaN, 1L << 40);
        }
        List<Dictionary<int, object>> events = Read(path);
        Assert.Equal(3, events.Count);
        Assert.Equal("brain.Event:2", Encoding.UTF8.GetString((byte[])events[0][3]));
        Assert.Equal((1e9, 3L), ((double)events[1][1], (long)(ulong)events[1][2]));
        Dictionary<int, object> value = Value(events[1]);
        Assert.Equal(("train/loss", 2.5f), (Encoding.UTF8.GetString((byte[])value[1]), (float)value[2]));
        Assert.Equal(1ul << 40, events[2][2]);
        Assert.True(float.IsNaN((float)Value(events[2])[2]));
    }

    [Fact]
    public void Options_become_a_table()
    {
        using var writer = new TensorBoardWriter(_folder);
        writer.Hyperparameters(new Dictionary<string, string> { ["Rate"] = "0.1", ["Names"] = "a|b" });
        Dictionary<int, object> value = Value(Read(writer.Path)[1]);
        Dictionary<int, object> tensor = Parse((byte[])value[8]);
        Assert.Equal(7ul, tensor[1]);
        Assert.Equal("| option | value |\n| --- | --- |\n| Names | a\\|b |\n| Rate | 0.1 |\n", Encoding.UTF8.GetString((byte[])tensor[8]));
        Assert.Equal("text", Encoding.UTF8.GetString((byte[])Parse((byte[])Parse((byte[])value[9])[1])[1]));
    }

    [Fact]
    public void Files_are_named_as_TensorBoard_finds_them()
    {
        using TensorBoardWriter first = new(_folder), second = new(_folder);
        Assert.NotEqual(first.Path, second.Path);
        Assert.Matches(@"^events\.out\.tfevents\.\d{10}\..+$", Path.GetFileName(first.Path));
    }

    [Fact]
    public void Entries_of_many_threads_stay_whole()
    {
        using var writer = new TensorBoardWriter(_folder);
        Parallel.For(0, 500, i => writer.Scalar("a", i, i));
        Assert.Equal(501, Read(writer.Path).Count);
    }

    static Dictionary<int, object> Value(Dictionary<int, object> entry) => Parse((byte[])Parse((byte[])entry[5])[1]);

    /// <summary>Records by the format's description, with a checksum that is computed bit by bit.</summary>
    static List<Dictionary<int, object>> Read(string path)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using var reader = new BinaryReader(stream);
        var events = new List<Dictionary<int, object>>();
        while (stream.Position < stream.Length)
        {
            byte[] length = reader.ReadBytes(8);
            Assert.Equal(MaskedByBits(length), reader.ReadUInt32());
            byte[] message = reader.ReadBytes((int)BinaryPrimitives.ReadInt64LittleEndian(length));
            Assert.Equal(MaskedByBits(message), reader.ReadUInt32());
            events.Add(Parse(message));
        }
        return events;
    }

    static uint MaskedByBits(byte[] data)
    {
        uint crc = 0xffffffff;
        foreach (byte b in data)
        {
            crc ^= b;
            for (int i = 0; i < 8; i++) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82F63B78 : crc >> 1;
        }
        crc = ~crc;
        return ((crc >> 15) | (crc << 17)) + 0xa282ead8;
    }

    /// <summary>Fields of a protobuf message by number: ulong, double, byte[] or float.</summary>
    static Dictionary<int, object> Parse(byte[] message)
    {
        var fields = new Dictionary<int, object>();
        using var reader = new BinaryReader(new MemoryStream(message));
        while (reader.BaseStream.Position < message.Length)
        {
            int key = reader.Read7BitEncodedInt();
            fields.Add(key >> 3, (key & 7) switch
            {
                0 => (ulong)reader.Read7BitEncodedInt64(),
                1 => reader.ReadDouble(),
                2 => reader.ReadBytes(reader.Read7BitEncodedInt()),
                5 => reader.ReadSingle(),
                int other => throw new InvalidDataException($"wire type {other}"),
            });
        }
        return fields;
    }
}
