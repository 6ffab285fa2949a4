using System.Buffers.Binary;
using System.Text;
using MLNetMultimodal.Training.Native;

namespace MLNetMultimodal.Training.Tests;

public sealed class ElfVersionsTests
{
    const string Wanted = "GLIBCXX_3.4.32";

    [Fact]
    public void Only_the_flags_of_the_version_change()
    {
        byte[] before = TinyElf.Build(), after = [.. before];
        Assert.True(ElfVersions.Weaken(after, Wanted));
        int[] changed = [.. Enumerable.Range(0, before.Length).Where(i => before[i] != after[i])];
        Assert.Equal([TinyElf.FlagsAt], changed);
        Assert.Equal(2, after[TinyElf.FlagsAt]);
    }

    [Fact]
    public void A_library_without_the_version_is_left_alone()
    {
        byte[] before = TinyElf.Build(), after = [.. before];
        Assert.False(ElfVersions.Weaken(after, "GLIBCXX_3.4.3"));
        Assert.Equal(before, after);
    }

    [Fact]
    public void A_version_that_a_relocation_uses_is_refused()
    {
        byte[] elf = TinyElf.Build(relocatedSymbol: 1);
        var e = Assert.Throws<InvalidDataException>(() => ElfVersions.Weaken(elf, Wanted));
        Assert.Contains("really used", e.Message);
    }

    [Fact]
    public void Every_truncation_is_refused_or_harmless()
    {
        byte[] whole = TinyElf.Build();
        for (int length = 0; length < whole.Length; length++)
        {
            byte[] part = whole[..length];
            Assert.Throws<InvalidDataException>(() => ElfVersions.Weaken(part, Wanted));
        }
    }

    [Fact]
    public void Random_damage_never_ends_in_another_exception()
    {
        var random = new Random(1);
        byte[] whole = TinyElf.Build();
        for (int round = 0; round < 20_000; round++)
        {
            byte[] damaged = [.. whole];
            for (int k = random.Next(1, 8); k > 0; k--) damaged[random.Next(4, whole.Length)] = random.Next(4) == 0 ? (byte)0xff : (byte)random.Next(256);
            try
            {
                ElfVersions.Weaken(damaged, Wanted);
            }
            catch (InvalidDataException)
            {
            }
        }
    }

    [Fact]
    public void Entries_that_point_at_themselves_end()
    {
        byte[] elf = TinyElf.Build();
        BinaryPrimitives.WriteUInt16LittleEndian(elf.AsSpan(TinyElf.NeedsAt + 2), 0xffff);     // more entries than there are
        BinaryPrimitives.WriteUInt32LittleEndian(elf.AsSpan(TinyElf.FlagsAt + 8), 0);          // the last entry
        Assert.True(ElfVersions.Weaken(elf, Wanted));
    }

    [Fact]
    public void The_binding_that_comes_with_TorchSharp_is_understood()
    {
        string? path = TorchNative.SearchFolders().Select(f => Path.Combine(f, "libLibTorchSharp.so")).FirstOrDefault(File.Exists);
        if (!OperatingSystem.IsLinux()) return;
        Assert.NotNull(path);
        byte[] before = File.ReadAllBytes(path), after = [.. before];
        Assert.True(ElfVersions.Weaken(after, Wanted));
        int changed = Enumerable.Range(0, before.Length).Count(i => before[i] != after[i]);
        Assert.True(changed == 1, $"{changed} bytes changed");
    }

    /// <summary>A library of four sections: texts, symbol versions, version needs, relocations.</summary>
    static class TinyElf
    {
        const int Texts = 64, Versions = 128, Relocations = 136, Table = 232;
        public const int NeedsAt = 160, FlagsAt = NeedsAt + 32 + 4; // the second of two entries

        public static byte[] Build(int relocatedSymbol = 0)
        {
            var elf = new byte[Table + 5 * 64];
            "\u007fELF"u8.CopyTo(elf);
            elf[4] = 2;
            elf[5] = 1;
            Write64(elf, 40, Table);
            Write16(elf, 58, 64);
            Write16(elf, 60, 5);
            Encoding.ASCII.GetBytes("\0libstdc++.so.6\0GLIBCXX_3.4\0GLIBCXX_3.4.32\0").CopyTo(elf, Texts);
            Write16(elf, Versions + 2, 18);                          // symbol 1 is of version 18
            Write64(elf, Relocations + 8, (long)relocatedSymbol << 32 | 6);
            Write16(elf, NeedsAt, 1);
            Write16(elf, NeedsAt + 2, 2);                            // two entries
            Write32(elf, NeedsAt + 4, 1);
            Write32(elf, NeedsAt + 8, 16);
            Entry(elf, NeedsAt + 16, version: 2, name: 16, next: 16);
            Entry(elf, NeedsAt + 32, version: 18, name: 28, next: 0);
            Section(elf, 1, type: 3, Texts, 43, link: 0, info: 0);
            Section(elf, 2, type: 0x6fffffff, Versions, 4, link: 0, info: 0);
            Section(elf, 3, type: 0x6ffffffe, NeedsAt, 48, link: 1, info: 1);
            Section(elf, 4, type: 4, Relocations, 24, link: 0, info: 0);
            return elf;
        }

        static void Entry(byte[] elf, int at, ushort version, int name, int next)
        {
            Write16(elf, at + 6, version);
            Write32(elf, at + 8, name);
            Write32(elf, at + 12, next);
        }

        static void Section(byte[] elf, int index, uint type, long offset, long size, int link, int info)
        {
            int at = Table + index * 64;
            BinaryPrimitives.WriteUInt32LittleEndian(elf.AsSpan(at + 4), type);
            Write64(elf, at + 24, offset);
            Write64(elf, at + 32, size);
            Write32(elf, at + 40, link);
            Write32(elf, at + 44, info);
        }

        static void Write16(byte[] elf, int at, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(elf.AsSpan(at), value);

        static void Write32(byte[] elf, int at, int value) => BinaryPrimitives.WriteInt32LittleEndian(elf.AsSpan(at), value);

        static void Write64(byte[] elf, int at, long value) => BinaryPrimitives.WriteInt64LittleEndian(elf.AsSpan(at), value);
    }
}
