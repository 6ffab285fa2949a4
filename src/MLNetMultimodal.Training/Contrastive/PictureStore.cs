using System.IO.MemoryMappedFiles;
using System.Security.Cryptography;
using System.Text;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Training;

/// <summary>Pictures of one size, before augmentation: in memory, or in a file that is mapped into it, of which the system keeps
/// as much in memory as there is room for.</summary>
abstract class PictureStore : IDisposable
{
    const string Ending = ".pictures", Version = "pictures 1";

    /// <summary>H of the pictures, pixels.</summary>
    public required int Height { get; init; }

    /// <summary>W of the pictures, pixels.</summary>
    public required int Width { get; init; }

    /// <summary>Bytes of one picture.</summary>
    public int Size => 3 * Height * Width;

    /// <summary>How many there are.</summary>
    public abstract int Count { get; }

    /// <summary>[H, W, 3] of a row; valid until <see cref="Dispose"/>. Thread-safe.</summary>
    public abstract ReadOnlySpan<byte> Pixels(int row);

    /// <summary>A row's picture, of its own.</summary>
    public RgbImage Picture(int row) => new(Width, Height, Pixels(row).ToArray());

    public abstract void Dispose();

    /// <summary>Keeps pictures in memory.</summary>
    /// <param name="images">What their size is.</param>
    /// <param name="pictures">The pictures, in the order of the rows.</param>
    public static PictureStore InMemory(ImagePreprocessing images, IEnumerable<RgbImage> pictures) =>
        new Memory([.. pictures.Select(p => p.Pixels)]) { Height = images.Height, Width = images.Width };

    /// <summary>Maps the file of these pictures; it is written, whole or not at all, where there is none.</summary>
    /// <param name="folder">Where such files lie; it is created.</param>
    /// <param name="images">How the pictures are made.</param>
    /// <param name="content">Adds what the pictures are made of to a hash: the same pictures and preprocessing share a
    /// file.</param>
    /// <param name="pictures">The pictures, in the order of the rows; asked for only where there is no file.</param>
    /// <exception cref="IOException">The folder or the file cannot be written or read.</exception>
    public static PictureStore OnDisk(
        string folder, ImagePreprocessing images, Action<IncrementalHash> content, Func<IEnumerable<RgbImage>> pictures)
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes($"{Version}\n{images.ToJson()}"));
        content(hash);
        string path = Path.Combine(folder, Convert.ToHexStringLower(hash.GetHashAndReset()) + Ending);
        if (!File.Exists(path))
            AtomicFile.Write(path, stream =>
            {
                foreach (RgbImage picture in pictures()) stream.Write(picture.Pixels);
            });
        if (new FileInfo(path).Length == 0) return InMemory(images, []); // nothing cannot be mapped
        return new Mapped(path) { Height = images.Height, Width = images.Width };
    }

    sealed class Memory(byte[][] pictures) : PictureStore
    {
        public override int Count => pictures.Length;

        public override ReadOnlySpan<byte> Pixels(int row) => pictures[row];

        public override void Dispose() { }
    }

    sealed unsafe class Mapped : PictureStore
    {
        readonly MemoryMappedFile _file;
        readonly MemoryMappedViewAccessor _view;
        readonly byte* _start;
        readonly long _bytes;

        public Mapped(string path)
        {
            _bytes = new FileInfo(path).Length;
            _file = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
            _view = _file.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
            _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _start);
        }

        public override int Count => (int)(_bytes / Size);

        public override ReadOnlySpan<byte> Pixels(int row)
        {
            long at = (long)row * Size;
            if (row < 0 || at + Size > _bytes)
                throw new InvalidDataException(
                    $"the cached pictures end before row {row}; delete the cache, and it will be made anew.");
            return new(_start + at, Size);
        }

        public override void Dispose()
        {
            _view.SafeMemoryMappedViewHandle.ReleasePointer();
            _view.Dispose();
            _file.Dispose();
        }
    }
}
