using System.Runtime.Versioning;
using MLNetMultimodal.Training.Native;
using TorchSharp;

namespace MLNetMultimodal.Training.Tests;

[SupportedOSPlatform("linux")]
public sealed class TorchNativeTests : IDisposable
{
    readonly string _folder = Directory.CreateTempSubdirectory("torch-native-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Torch_runs_after_a_plain_restore()
    {
        TorchNative.EnsureLoaded();
        using torch.Tensor two = torch.ones(2).sum();
        Assert.Equal(2f, two.item<float>());
    }

    [Fact]
    public void The_version_named_in_messages_is_the_one_TorchSharp_asks_for()
    {
        TorchNative.EnsureLoaded();
        Assert.StartsWith(TorchNative.LibtorchVersion, torch.__version__);
    }

    [Fact]
    public void A_missing_libtorch_names_the_package()
    {
        var e = Assert.Throws<NotSupportedException>(() => TorchNative.CheckLibtorch([_folder], installed: _ => false));
        Assert.Contains("libtorch-cpu-linux-x64", e.Message);
        Assert.Contains(_folder, e.Message);
    }

    [Fact]
    public void The_copy_is_written_once_and_only_this_user_may_enter()
    {
        string cache = Path.Combine(_folder, "a", "b");
        string path = NativeCache.Place(cache, "libx.so", "source"u8, "adapted"u8);
        DateTime written = File.GetLastWriteTimeUtc(path);
        Assert.Equal(path, NativeCache.Place(cache, "libx.so", "source"u8, "adapted"u8));
        Assert.Equal(written, File.GetLastWriteTimeUtc(path));
        Assert.Equal("adapted"u8.ToArray(), File.ReadAllBytes(path));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(cache));
        Assert.Single(Directory.GetFiles(cache));
    }

    [Fact]
    public void A_damaged_copy_is_replaced()
    {
        string path = NativeCache.Place(_folder, "libx.so", "source"u8, "adapted"u8);
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        File.WriteAllText(path, "adap");
        NativeCache.Place(_folder, "libx.so", "source"u8, "adapted"u8);
        Assert.Equal("adapted"u8.ToArray(), File.ReadAllBytes(path));
    }

    [Fact]
    public void Another_source_gets_another_name() =>
        Assert.NotEqual(NativeCache.Place(_folder, "libx.so", "source"u8, "a"u8), NativeCache.Place(_folder, "libx.so", "other"u8, "a"u8));

    [Fact]
    public void A_link_is_not_entered()
    {
        string link = Path.Combine(_folder, "link");
        Directory.CreateSymbolicLink(link, Directory.CreateDirectory(Path.Combine(_folder, "real")).FullName);
        Assert.Throws<IOException>(() => NativeCache.Place(link, "libx.so", "source"u8, "adapted"u8));
    }

    [Fact]
    public void Racing_writers_leave_one_whole_copy()
    {
        var source = new byte[1 << 16];
        Parallel.For(0, 32, new() { MaxDegreeOfParallelism = 8 }, _ =>
            Assert.Equal(source, File.ReadAllBytes(NativeCache.Place(_folder, "libx.so", source, source))));
        Assert.Single(Directory.GetFiles(_folder));
    }
}
