using Microsoft.ML;
using MLNetMultimodal.Data;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="ImageFolderCatalog.LoadImageFolder"/>.</summary>
public sealed record ImageFolderOptions
{
    /// <summary>Endings of picture files, with the dot, in any case; default those of JPEG, PNG, WebP, GIF and BMP.</summary>
    public IReadOnlyList<string> Extensions { get; init; } = [".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"];

    /// <summary>Caption of a row, with <c>{}</c> in place of its label; default <c>a photo of a {}.</c></summary>
    public string CaptionTemplate { get; init; } = ZeroShotPrompts.DefaultTemplate;
}

/// <summary>Adds the loader to <see cref="MLContext.Data"/>.</summary>
public static class ImageFolderCatalog
{
    extension(DataOperationsCatalog catalog)
    {
        /// <summary>A folder with one folder of pictures per class, whose name is the label. Columns: <c>ImagePath</c> (text, a
        /// full path), <c>Label</c> (a key
        /// whose values are the folder names in ordinal order), <c>LabelText</c> (text), <c>Caption</c> (text). Folders inside a
        /// class's folder belong to it.
        /// Rows are in ordinal order of paths. No picture is opened. The view can be shuffled.
        /// Where <c>classnames.txt</c> lies in the folder, its lines are the key values in their order: either the class folders
        /// have these names (a class may have no folder), or none has and line n names the n-th folder in ordinal
        /// order.</summary>
        /// <param name="folder">The folder.</param>
        /// <param name="options">Endings and caption; null for the defaults.</param>
        /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
        /// <exception cref="InvalidDataException">It has no folders, or <c>classnames.txt</c> does not fit them.</exception>
        public IDataView LoadImageFolder(string folder, ImageFolderOptions? options = null)
        {
            ArgumentNullException.ThrowIfNull(catalog);
            options ??= new();
            (IReadOnlyList<string> names, (string Path, int Label)[] rows) =
                ClassFolders.Read(folder, options.Extensions, "picture");
            string[] captions = [.. names.Select(n => options.CaptionTemplate.Replace("{}", n, StringComparison.Ordinal))];
            return new RowsDataView(rows.Length,
            [
                RowsDataView.Text("ImagePath", row => rows[row].Path),
                RowsDataView.Key("Label", names, row => rows[row].Label),
                RowsDataView.Text("LabelText", row => names[rows[row].Label]),
                RowsDataView.Text("Caption", row => captions[rows[row].Label]),
            ]);
        }
    }
}
